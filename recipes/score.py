"""
Score a model on a split: word and character error rates with confidence intervals, speed, and a report of the errors.

    python recipes/score.py outputs/quickstart --dataset_name synthetic --split test
    python recipes/score.py USER/MODEL --dataset_name openslr/librispeech_asr --dataset_config clean \\
        --split validation --baseline OTHER/MODEL --output_dir outputs/score
    python recipes/score.py MODEL --decoder outputs/decoder/decoder.json --dataset_name FOLDER

The recipe writes utterances.jsonl (a line for each utterance), results.json and index.html into --output_dir. With
--baseline, it scores both models and compares them on the same utterances. A model with a decoder.json is scored with
it and, beside it, with greedy decoding, which is the baseline if none is given.
"""

import argparse
import contextlib
import json
import shlex
from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState

from deepspeech2.config import options
from deepspeech2.data.splits import load_split
from deepspeech2.decoding.decoder import GREEDY_NAME, DecoderWorkers, load_decoder
from deepspeech2.evaluation.metrics import compare
from deepspeech2.evaluation.predictions import split_batches
from deepspeech2.evaluation.reports import write_score_report
from deepspeech2.evaluation.scoring import score_model, write_utterances
from deepspeech2.model.loading import load_models
from deepspeech2.system.command_line import run
from deepspeech2.system.devices import count_readers, count_workers, set_up_cpu, set_up_process
from deepspeech2.system.files import write_whole
from deepspeech2.training.methods.adaptation import reestimate_norms


def make_parser() -> argparse.ArgumentParser:
    parser = options.new_parser("recipes/score.py", __doc__)
    options.add_model_argument(parser)
    parser.add_argument("--baseline", metavar="MODEL", help="second model, to compare MODEL with (default: none)")
    parser.add_argument(
        "--baseline_decoder",
        metavar="FILE",
        help="decoder of the baseline, as --decoder; the baseline can be MODEL itself (default: its own decoder.json, "
        "else greedy)",
    )
    parser.add_argument(
        "--group_by",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="columns of the corpus to report the error rates by (default: none)",
    )
    parser.add_argument(
        "--reestimate_norms",
        action="store_true",
        help="first estimate the batch norm statistics on the split itself, without its transcripts",
    )
    options.add_split_options(parser)
    options.add_decoder_option(parser)
    options.add_compute_options(parser, workers="decoder workers, used only with a decoder")
    options.add_output_option(parser, None, "folder to write into (default: outputs/score-MODEL-DATASET-CONFIG-SPLIT)")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    num_workers = count_workers(args.num_workers)
    device = set_up_process(args, shared=True)
    corpora = load_split(options.split_arguments(args), args.split, args.group_by)
    models = load_models(list(dict.fromkeys([args.model, args.baseline or args.model])))
    asked = [(args.model, args.decoder), (args.model, GREEDY_NAME)]
    if args.baseline:
        asked.append((args.baseline, args.baseline_decoder))
    systems, names = {}, []
    for model_name, given in asked:
        decoder = load_decoder(*models[model_name], given)
        names.append(f"{model_name} with {decoder.name}" if decoder.options.beam_size else model_name)
        systems.setdefault(names[-1], (model_name, decoder))
    tested, greedy, baseline = names[0], names[1], names[-1]
    parts = (Path(args.model).name, Path(args.dataset_name).stem, args.dataset_config, args.split.replace("/", "-"))
    folder = args.output_dir or Path("outputs", "-".join(["score", *filter(None, parts)]))
    folder.mkdir(parents=True, exist_ok=True)

    state = PartialState()
    scored = {}
    for name, (model_name, decoder) in systems.items():
        model, processor = models[model_name]
        beside = num_workers if decoder.options.beam_size else 0
        set_up_cpu(args.cpu_threads, 1 + beside)
        model.to(device)
        if args.reestimate_norms:
            reestimate_norms(model, split_batches(corpora, processor, args.batch_seconds, folder / "drops"))
        batches = split_batches(
            corpora, processor, args.batch_seconds, folder / "drops", num_workers=count_readers(device)
        )
        with DecoderWorkers(decoder, beside) if beside else contextlib.nullcontext() as decoding:
            scored[name] = score_model(model, processor, batches, decoding)
        state.print(f"{name}: {scored[name][0].summary()} · RTFx {scored[name][1]:.1f}")
        if state.is_main_process:
            kind = {greedy: "-greedy", baseline: "-baseline", tested: ""}[name]
            write_utterances(scored[name][0], folder / f"utterances{kind}.jsonl")
    state.destroy_process_group()
    if not state.is_main_process:
        return 0
    scores, rtfx = scored[tested]
    comparison = compare(scored[baseline][0], scores) if args.baseline or tested != greedy else None
    if comparison:
        print(f"{baseline} -> {tested}: {comparison.summary()}")

    command = shlex.join(["python", "recipes/score.py", *argv])
    dataset = {"name": args.dataset_name, "config": args.dataset_config, "split": args.split}
    results = {
        "command": command,
        "model": args.model,
        "decoder": asdict(systems[tested][1].options) if tested != greedy else None,
        "dataset": dataset | {"revision": args.dataset_revision},
        "rtfx": rtfx,
        "scores": scores.to_dict(),
        "greedy": scored[greedy][0].to_dict() if tested != greedy else None,
        "baseline": baseline if comparison else None,
        "comparison": comparison.to_dict() if comparison else None,
    }
    write_whole(folder / "results.json", json.dumps(results, indent=2, ensure_ascii=False))
    named = " / ".join(part for part in (Path(args.dataset_name).name, args.dataset_config, args.split) if part)
    report = write_score_report(
        folder,
        scores,
        title=f"{Path(args.model).name} on {named}",
        command=command,
        rtfx=rtfx,
        comparison=comparison,
    )
    print(f"Report: {report}")
    return 0


if __name__ == "__main__":
    run(main)
