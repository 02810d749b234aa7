"""
Weighs a fine-tuned model against the one it started from: models between them, scored on target and source speech.

    python recipes/interpolate.py recipes/quickstart/starter outputs/own_recordings outputs/between \
        --dataset_name my_recordings --target test --source FOLDER::clean/validation

Writes interpolation.md, interpolation.png and the model of the lowest mean of both error rates into OUT.
"""

import argparse
import shlex
import sys
from pathlib import Path

from accelerate import PartialState

from deepspeech2.config.arguments import DataArguments
from deepspeech2.data.splits import load_split
from deepspeech2.data.streams import EvaluationStream, build_loader
from deepspeech2.evaluation.reports import Point, best_point, interpolation_table, write_interpolation_report
from deepspeech2.evaluation.scoring import score_model
from deepspeech2.model.loading import load_models
from deepspeech2.system.command_line import end_run, set_up_log
from deepspeech2.system.devices import set_up_cpu
from deepspeech2.training.methods.interpolation import models_between


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipes/interpolate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("start", metavar="START", help="folder of the model before fine-tuning, or its id on the Hub")
    parser.add_argument("tuned", metavar="TUNED", help="folder of the model after it, or its id on the Hub")
    parser.add_argument("output_dir", type=Path, metavar="OUT", help="folder of the chosen model, table and plot")
    parser.add_argument("--dataset_name", required=True, help="Hub id, folder, manifest file or 'synthetic'")
    parser.add_argument("--dataset_config", default="-", help="configuration of the dataset")
    parser.add_argument("--target", required=True, metavar="SPLIT", help="what was learnt: split or config/split")
    parser.add_argument(
        "--source", required=True, metavar="SPLIT", help="what was known before; of another corpus CORPUS::split"
    )
    parser.add_argument("--held_out_share", type=float, default=0.0, help="that of the run, for --target held-out")
    parser.add_argument("--train_split", default="train", help="that of the run, for --target held-out")
    parser.add_argument(
        "--alphas",
        type=float,
        nargs="+",
        default=[0.0, 0.25, 0.5, 0.75, 1.0],
        metavar="SHARE",
        help="of the way from START (0) to TUNED (1) (default: 0 0.25 0.5 0.75 1)",
    )
    parser.add_argument("--batch_seconds", type=float, default=60.0, help="audio of a batch (default: %(default)s)")
    parser.add_argument("--cpu_threads", type=int, default=1, help="of the model on a CPU (default: %(default)s)")
    return parser


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    set_up_log()
    set_up_cpu(args.cpu_threads)
    if args.output_dir.resolve() in (Path(args.start).resolve(), Path(args.tuned).resolve()):
        sys.exit(f"interpolate.py: OUT {args.output_dir} would overwrite one of the two models; name another folder")
    data = DataArguments(
        dataset_name=[args.dataset_name],
        dataset_config=[args.dataset_config],
        train_split=[args.train_split],
        held_out_share=args.held_out_share,
    )
    corpora = [load_split(data, split) for split in (args.target, args.source)]
    loaded = load_models([args.start, args.tuned])
    start, tuned = loaded[args.start], loaded[args.tuned]
    args.output_dir.mkdir(parents=True, exist_ok=True)
    points = []
    for share, model in models_between(start, tuned, sorted(set(args.alphas))):
        model.to(PartialState().device)
        scores = []
        for some in corpora:
            stream = EvaluationStream(some, tuned[1], batch_seconds=args.batch_seconds)
            scores.append(score_model(model, tuned[1], build_loader(stream, num_workers=1))[0])
        target, source = scores
        points.append(Point(share, target, source))
        print(f"{share:g} of the way: target {target.summary()}; source {source.summary()}", flush=True)
    chosen = best_point(points)
    for _, model in models_between(start, tuned, [chosen.share]):
        model.save_pretrained(args.output_dir)
    tuned[1].save_pretrained(args.output_dir)
    command = shlex.join(["python", "recipes/interpolate.py", *argv])
    report = write_interpolation_report(args.output_dir, points, chosen, command)
    print(f"\n{interpolation_table(points, chosen)}\nKept {chosen.share:g} of the way in {args.output_dir}: {report}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (KeyboardInterrupt, ValueError, OSError) as error:
        end_run("interpolate.py", error)
