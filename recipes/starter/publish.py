"""
Make the starter from a finished run of config.yaml: float16 weights, their decoder with its language model, their
scores, and their model card.

    python recipes/starter/publish.py

The recipe scores splits of librispeech_mini, and the test speakers of the synthetic corpus `reading`, greedily and with
the decoder, on one thread. Until it ends, its files are in `OUTPUT_DIR.unverified`, which the next run replaces. Then
they replace those of --output_dir.
"""

import argparse
import json
import shutil
from pathlib import Path

import yaml

from deepspeech2.config import options
from deepspeech2.config.arguments import DataArguments
from deepspeech2.data.splits import load_split
from deepspeech2.data.streams import EvaluationStream
from deepspeech2.decoding.decoder import DecoderWorkers, load_decoder
from deepspeech2.decoding.options import read_options, save_options
from deepspeech2.evaluation.reports import EvaluatedSplit, write_model_card
from deepspeech2.evaluation.scoring import score_model
from deepspeech2.model.loading import load_model
from deepspeech2.system.command_line import run, set_up_log
from deepspeech2.system.devices import set_up_cpu

HERE = Path(__file__).parent
FACTS = ("command", "commit", "parameters", "optimizer steps", "kept", "training time", "hardware", "seed", "torch")
LIMITS = [
    "A starting point for fine-tuning, not a finished recogniser. Its training data is 5.7 h of 34 readers, one "
    "utterance each of 213 more, and synthetic speech: one voice in many variants, and 54 voices with their blends.",
    "The error rates are those of greedy decoding; lower case, no punctuation. decoder.json and lm.arpa.gz, the "
    "language model, are used by this package, and not by transformers alone.",
    "The checkpoint was selected by its error rate on clean/validation; the other splits were only scored.",
    "librispeech_mini is a small part of LibriSpeech; these are not figures on its official test sets.",
    "Trained on read English only: no spontaneous or distant speech, and no other accents.",
    "Training data: LibriSpeech (V. Panayotov, G. Chen, D. Povey, S. Khudanpur, ICASSP 2015), CC BY 4.0; pseudo-labels "
    "by whisper-base (A. Radford et al. 2022, MIT); synthetic speech by hibari-tts and Kokoro-82M (both Apache-2.0), "
    "which read the King James Bible and Debian's fortunes. Language model: LibriSpeech's transcripts of the training "
    "splits, and public-domain books of Project Gutenberg, none of which is read in a test.",
]


def make_parser() -> argparse.ArgumentParser:
    parser = options.new_parser("recipes/starter/publish.py", __doc__)
    parser.add_argument(
        "--run",
        type=Path,
        default=Path("outputs/starter/run"),
        help="folder of the finished run (default: %(default)s)",
    )
    parser.add_argument(
        "--decoder_file",
        type=Path,
        default=Path("outputs/starter/decoder/decoder.json"),
        metavar="FILE",
        help="decoder.json of the starter (default: %(default)s)",
    )
    options.add_output_option(parser, "recipes/quickstart/starter", "folder to write the starter into")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    set_up_log()
    set_up_cpu(1)
    settings = yaml.safe_load((HERE / "config.yaml").read_text(encoding="utf-8"))
    mini, reading = settings["dataset_name"][0], settings["dataset_name"][-1]
    data = DataArguments(dataset_name=[mini], dataset_config=["clean"], train_split=["train.100"])
    model, processor = load_model(str(args.run))
    unverified = args.output_dir.with_name(f"{args.output_dir.name}.unverified")
    if unverified.exists():
        shutil.rmtree(unverified)
    model.half().save_pretrained(unverified)
    processor.save_pretrained(unverified)
    save_options(read_options(args.decoder_file), unverified)
    (unverified / "model.safetensors").chmod(0o644)
    model, processor = load_model(str(unverified))
    decoder = load_decoder(model, processor)
    results, speeds, with_decoder = [], [], []
    for corpora, split in (
        (load_split(data, "clean/validation"), EvaluatedSplit("librispeech_mini", "validation", "clean")),
        (load_split(data, "other/test"), EvaluatedSplit("librispeech_mini", "test", "other")),
        (load_split(data, "clean/dev_half"), EvaluatedSplit("librispeech_mini", "dev_half", "clean")),
        (load_split(DataArguments(dataset_name=[reading]), "test"), EvaluatedSplit("synthetic read speech", "test")),
    ):
        scores, rtfx = score_model(model, processor, EvaluationStream(corpora, processor, batch_seconds=60.0))
        print(f"{split.label}: {scores.summary()}, RTFx {rtfx:.0f}", flush=True)
        results.append((split, scores))
        speeds.append(f"{rtfx:.0f} on {split.label}")
        with DecoderWorkers(decoder, 1) as decoding:
            batches = EvaluationStream(corpora, processor, batch_seconds=60.0)
            scores, rtfx = score_model(model, processor, batches, decoding)
        print(f"{split.label} with the decoder: {scores.summary()}, RTFx {rtfx:.0f}", flush=True)
        with_decoder.append(f"{100 * scores.wer:.1f} on {split.label}")
    run = json.loads((args.run / "run.json").read_text(encoding="utf-8"))
    write_model_card(
        unverified,
        model_name="starter",
        base_model=None,
        language="en",
        license="apache-2.0",
        datasets=["librispeech_mini", "synthetic read speech"],
        results=results,
        description=f"A small DeepSpeech2 of read English, {run['parameters']} parameters, to fine-tune from.",
        repo_id="recipes/quickstart/starter",
        training={
            **{name: run[name] for name in FACTS if name in run},
            "WER in % with decoder.json": "; ".join(with_decoder),
            "weights": "averaged over steps, stored in float16, scored as they are stored",
            "RTFx, audio seconds per second on one thread, reading the files included": "; ".join(speeds),
            "how the figures were made": "`python recipes/starter/publish.py`",
            "config": (HERE / "config.yaml").read_text(encoding="utf-8"),
        },
        limits=LIMITS,
    )
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for path in unverified.iterdir():
        path.replace(args.output_dir / path.name)
    unverified.rmdir()
    return 0


if __name__ == "__main__":
    run(main)
