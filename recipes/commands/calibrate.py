"""
Calibrate the rejection threshold between the commands of a grammar and out-of-grammar speech.

    python recipes/commands/calibrate.py MODEL recipes/commands/home.yaml --dataset_name my_commands --split held-out \\
        --held_out_share 0.2 --outside FOLDER::clean/validation
    python recipes/commands/calibrate.py MODEL recipes/commands/home.yaml --dataset_name synthetic --split test \\
        --outside FOLDER::clean/validation --acceptance outputs/commands/commands.json

Commands are the utterances whose transcripts are in the grammar. The other utterances, of the split and of --outside,
are out-of-grammar speech. Near misses are the commands of the split again, with one of their slot values removed from
the grammar. The recipe writes commands.json (for `deepspeech2 recognise` and `deepspeech2 listen`), rejection.png and
utterances.jsonl into --output_dir. With --acceptance, it calibrates nothing and evaluates a commands.json.
"""

import argparse
import shlex
from pathlib import Path

from deepspeech2.config import options
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
from deepspeech2.system.command_line import run
from deepspeech2.system.devices import set_up_process


def make_parser() -> argparse.ArgumentParser:
    parser = options.new_parser("recipes/commands/calibrate.py", __doc__)
    options.add_model_argument(parser)
    parser.add_argument("grammar", type=Path, metavar="GRAMMAR", help="YAML file of the commands to recognise")
    parser.add_argument(
        "--outside",
        nargs="+",
        default=[],
        metavar="DATASET::SPLIT",
        help="splits of out-of-grammar speech, also DATASET::CONFIG/SPLIT (default: none)",
    )
    parser.add_argument(
        "--false_accepts",
        type=float,
        default=0.01,
        help="maximum share of out-of-grammar speech accepted, from 0 to 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--hard_accepts",
        type=float,
        default=0.05,
        help="maximum share of near misses accepted, from 0 to 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--acceptance", type=Path, metavar="commands.json", help="commands.json to evaluate instead of a calibration"
    )
    options.add_split_options(parser)
    options.add_compute_options(parser)
    options.add_output_option(parser, "outputs/commands")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    shares = (args.false_accepts, args.hard_accepts)
    if not all(0 <= share < 1 for share in shares):
        make_parser().error(f"--false_accepts and --hard_accepts are {shares}; expected shares from 0 to below 1")
    device = set_up_process(args)
    corpora = {args.split: load_split(options.split_arguments(args), args.split)}
    corpora |= {name: load_other_split(name) for name in args.outside}
    model, processor = load_model(args.model)
    recogniser = load_recogniser(model, processor, args.grammar, args.acceptance)
    model.to(device)
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
        f"threshold {acceptance.threshold:.2f}",
        *(f"{name}: {share}" for name, share in found.items()),
        sep="\n",
    )
    if within := sum(one.meant is not None for name in args.outside for one in judged[name]):
        print(f"utterances of --outside whose transcripts are in the grammar, which count as commands: {within:,}")
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
    run(main)
