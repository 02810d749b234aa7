"""
Finds when a command is one: recognises commands and speech that is none, and sets the threshold between them.

    python recipes/commands/calibrate.py MODEL recipes/commands/home.yaml --dataset_name my_commands --split held-out \
        --held_out_share 0.2 --outside FOLDER::clean/validation
    python recipes/commands/calibrate.py MODEL recipes/commands/home.yaml --dataset_name synthetic --split test \
        --outside FOLDER::clean/validation --acceptance outputs/commands/commands.json

What is a command is told by the transcripts: those that the grammar has. The others of the split are outside, as is all
of `--outside`. Near misses are the commands again, each without one of its slots' values in the grammar. Writes
commands.json, for `deepspeech2 recognise` and `listen`, rejection.png and utterances.jsonl into `--output_dir`. With
--acceptance nothing is set: it says how a commands.json does on other speech.
"""

import argparse
import shlex
import sys
from pathlib import Path

from deepspeech2.config.options import add_split_options, split_arguments
from deepspeech2.data.splits import load_other_split, load_split
from deepspeech2.decoding.tuning import stored_split
from deepspeech2.evaluation.reports import rejection_curves, save_png
from deepspeech2.inference.voice_commands.recognition import load_recogniser, write_acceptance
from deepspeech2.inference.voice_commands.rejection import (
    find_acceptance,
    judge,
    near_misses,
    summary,
    trade_off,
    warning,
    write_judged,
)
from deepspeech2.model.loading import load_model
from deepspeech2.system.command_line import end_run, set_up_log
from deepspeech2.system.devices import set_up_cpu


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipes/commands/calibrate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a checkpoint, or its id on the Hub")
    parser.add_argument("grammar", type=Path, metavar="GRAMMAR", help="YAML file of the commands")
    add_split_options(parser)
    parser.add_argument(
        "--outside",
        nargs="+",
        default=[],
        metavar="DATASET::SPLIT",
        help="speech that is no command; DATASET::CONFIG/SPLIT where there are configurations",
    )
    parser.add_argument(
        "--false_accepts",
        type=float,
        default=0.01,
        help="share of what is outside that may be accepted (default: %(default)s)",
    )
    parser.add_argument(
        "--hard_accepts", type=float, default=0.05, help="the same of near misses (default: %(default)s)"
    )
    parser.add_argument("--acceptance", type=Path, metavar="commands.json", help="check this one, set nothing")
    parser.add_argument("--batch_seconds", type=float, default=60.0, help="audio of a batch (default: %(default)s)")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/commands"), help="(default: %(default)s)")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    shares = (args.false_accepts, args.hard_accepts)
    if not all(0 <= share < 1 for share in shares):
        make_parser().error(f"--false_accepts and --hard_accepts are {shares}; expected shares from 0 to below 1")
    set_up_log()
    set_up_cpu(1)
    corpora = {args.split: load_split(split_arguments(args), args.split)}
    corpora |= {name: load_other_split(name) for name in args.outside}
    model, processor = load_model(args.model)
    recogniser = load_recogniser(model, processor, args.grammar, args.acceptance)
    judged, hard = {}, []
    for name, of_split in corpora.items():
        with stored_split(
            model, processor, of_split, args.output_dir, args.batch_seconds, trimmed=recogniser.trims
        ) as stored:
            judged[name] = list(judge(recogniser, stored.spoken()))
            if name == args.split:
                hard = list(near_misses(recogniser, stored.spoken()))

    everything = [one for of_split in judged.values() for one in of_split]
    acceptance = recogniser.acceptance if args.acceptance else find_acceptance(everything, hard, *shares)
    found = summary(everything, hard, acceptance.threshold)
    print(
        f"threshold {acceptance.threshold:.2f} nats a letter",
        *(f"{name}: {share}" for name, share in found.items()),
        sep="\n",
    )
    if doubt := warning(everything, args.false_accepts):
        print(doubt)
    inside = [one for one in everything if one.meant is not None]
    outside = {name: [one for one in some if one.meant is None] for name, some in judged.items()} | {
        "near misses": hard
    }
    if inside:
        points = {name: trade_off(inside, some, acceptance.threshold) for name, some in outside.items() if some}
        save_png(rejection_curves(points), args.output_dir / "rejection.png")
    write_judged(args.output_dir / "utterances.jsonl", {**judged, "near misses": hard}, acceptance)
    if not args.acceptance:
        facts = {
            "model": args.model,
            "command": shlex.join(["python", "recipes/commands/calibrate.py", *argv]),
            **{name: str(share) for name, share in found.items()},
        }
        write_acceptance(args.output_dir / "commands.json", acceptance, facts)
        print(f"Acceptance: {args.output_dir / 'commands.json'}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyboardInterrupt, ValueError, OSError, ImportError) as error:
        end_run("calibrate.py", error)
