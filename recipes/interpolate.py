"""
Interpolate the weights of a model and its fine-tuned version, and score each interpolation on target and source speech.

    python recipes/interpolate.py recipes/quickstart/starter outputs/own_recordings \\
        --dataset_name my_recordings --target test --source FOLDER::clean/validation

The recipe writes interpolation.md, interpolation.png and the model with the lowest mean of both error rates, with the
decoder of the fine-tuned one, into --output_dir.
"""

import argparse
import shlex
from pathlib import Path

from accelerate import PartialState

from deepspeech2.config import options
from deepspeech2.data.splits import load_split
from deepspeech2.decoding.decoder import copy_own_decoder
from deepspeech2.evaluation.predictions import split_batches
from deepspeech2.evaluation.reports import Point, best_point, interpolation_table, write_interpolation_report
from deepspeech2.evaluation.scoring import score_model
from deepspeech2.inference.voice_commands.recognition import copy_own_commands
from deepspeech2.model.loading import load_models
from deepspeech2.system.command_line import run
from deepspeech2.system.devices import set_up_process
from deepspeech2.training.methods.interpolation import models_between


def make_parser() -> argparse.ArgumentParser:
    parser = options.new_parser("recipes/interpolate.py", __doc__)
    options.add_model_argument(parser, "start", "model before fine-tuning: a folder")
    options.add_model_argument(parser, "tuned", "model after fine-tuning: a folder")
    parser.add_argument(
        "--target", required=True, metavar="SPLIT", help="split of the new speech: SPLIT, CONFIG/SPLIT or held-out"
    )
    parser.add_argument(
        "--source",
        required=True,
        metavar="SPLIT",
        help="split of the original speech; DATASET::SPLIT names a split of another corpus",
    )
    parser.add_argument(
        "--alphas",
        type=float,
        nargs="+",
        default=[0.0, 0.25, 0.5, 0.75, 1.0],
        metavar="SHARE",
        help="shares of TUNED in the weights, from 0 (START) to 1 (default: 0 0.25 0.5 0.75 1)",
    )
    options.add_split_options(parser, split="")
    options.add_compute_options(parser)
    options.add_output_option(
        parser, "outputs/interpolate", "folder to write the selected model, the table and the plot into"
    )
    return parser


def main(argv: list[str]) -> int:
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.output_dir.resolve() in (Path(args.start).resolve(), Path(args.tuned).resolve()):
        parser.error(f"--output_dir {args.output_dir} would overwrite one of the two models; name another folder")
    device = set_up_process(args, shared=True)
    corpora = [load_split(options.split_arguments(args), split) for split in (args.target, args.source)]
    loaded = load_models([args.start, args.tuned])
    start, tuned = loaded[args.start], loaded[args.tuned]
    state = PartialState()
    points = []
    for share, model in models_between(start, tuned, sorted(set(args.alphas))):
        model.to(device)
        target, source = (
            score_model(model, tuned[1], split_batches(some, tuned[1], args.batch_seconds))[0] for some in corpora
        )
        points.append(Point(share, target, source))
        state.print(f"share {share:g}: target {target.summary()}; source {source.summary()}", flush=True)
    state.destroy_process_group()
    if not state.is_main_process:
        return 0
    chosen = best_point(points)
    for _, model in models_between(start, tuned, [chosen.share]):
        model.save_pretrained(args.output_dir)
    tuned[1].save_pretrained(args.output_dir)
    copy_own_decoder(tuned[0], args.output_dir)
    copy_own_commands(tuned[0], args.output_dir, calibrated=False)
    command = shlex.join(["python", "recipes/interpolate.py", *argv])
    report = write_interpolation_report(args.output_dir, points, chosen, command)
    print(
        f"\n{interpolation_table(points, chosen)}\nKept share {chosen.share:g} in {args.output_dir}. Report: {report}"
    )
    return 0


if __name__ == "__main__":
    run(main)
