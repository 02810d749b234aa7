"""
Exports a checkpoint to ONNX, in fp32 and int8, and keeps the export if it hears as well as PyTorch does.

    python recipes/export_onnx.py outputs/quickstart outputs/quickstart_onnx --dataset_name synthetic --split test
    python recipes/export_onnx.py USER/MODEL outputs/onnx --dataset_name openslr/librispeech_asr \
        --dataset_config clean --split validation --max_wer_difference 0.2

All three transcribe the split, one after the other: decoding of the audio, features, model and text in one process. OUT
is there only when the gate was passed. Until then, and after a refusal, the export lies in OUT.unverified, which the
next run replaces. export.md and export.json have the table. `recipes/onnx_example.py` transcribes with such a folder.
"""

import argparse
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from deepspeech2.config.options import add_split_options, split_arguments
from deepspeech2.data.splits import load_split
from deepspeech2.data.streams import EvaluationStream
from deepspeech2.evaluation.onnx_gate import refuse_worse, write_comparison
from deepspeech2.evaluation.scoring import score_model
from deepspeech2.model.loading import load_model
from deepspeech2.model.onnx_export import FILES, PYTORCH, OnnxModel, export_onnx
from deepspeech2.system.command_line import end_run, set_up_log
from deepspeech2.system.devices import set_up_cpu


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipes/export_onnx.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a checkpoint, or its id on the Hub")
    parser.add_argument("folder", type=Path, metavar="OUT", help="new folder for the export")
    add_split_options(parser)
    parser.add_argument("--num_utterances", type=int, metavar="N", help="only the first N of the split")
    parser.add_argument(
        "--max_wer_difference",
        type=float,
        default=0.3,
        metavar="POINTS",
        help="by how many per cent points the WER may be above that of PyTorch (default: %(default)s)",
    )
    parser.add_argument("--batch_seconds", type=float, default=60.0, help="audio of a batch (default: %(default)s)")
    parser.add_argument("--cpu_threads", type=int, default=1, help="of each model (default: %(default)s)")
    return parser


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    set_up_log()
    if args.folder.exists():
        make_parser().error(f"OUT {str(args.folder)!r} is already there; name a new folder, or remove it")
    corpora = load_split(split_arguments(args), args.split)
    if args.num_utterances:
        corpora = [replace(corpus, stream=corpus.stream.take(args.num_utterances)) for corpus in corpora]
    set_up_cpu(args.cpu_threads)
    model, processor = load_model(args.model)

    unverified = args.folder.with_name(f"{args.folder.name}.unverified")
    if unverified.exists():
        shutil.rmtree(unverified)
    ways = export_onnx(model, processor, unverified)
    models = {PYTORCH: model} | {way: OnnxModel(unverified / FILES[way], args.cpu_threads) for way in ways}
    scored = {}
    for way, one in models.items():
        scored[way] = score_model(
            one, processor, EvaluationStream(corpora, processor, batch_seconds=args.batch_seconds)
        )
        print(f"{way}: {scored[way][0].summary()} · RTFx {scored[way][1]:.1f}", flush=True)
    facts = {
        "command": shlex.join(["python", "recipes/export_onnx.py", *argv]),
        "max_wer_difference": args.max_wer_difference,
        "cpu_threads": args.cpu_threads,
    }
    print(f"\n{write_comparison(unverified, scored, facts)}")
    refuse_worse(scored, args.max_wer_difference)
    unverified.rename(args.folder)
    print(f"Verified: {args.folder}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (KeyboardInterrupt, ImportError, ValueError, OSError) as error:
        end_run("export_onnx.py", error)
