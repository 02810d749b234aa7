"""
Compares strategies of fine-tuning at one budget, with several seeds, and says which to take.

    python recipes/adaptation/prepare.py LIBRISPEECH_MINI
    python recipes/compare_strategies.py recipes/adaptation/new_speaker.yaml --num_workers 2

Writes the runs, strategies.md, plots and index.html into `--output_dir`. The same command goes on where it was stopped:
finished runs are not done again, one that failed is tried again. recipes/adaptation/README.md says how an experiment is
declared.
"""

import shlex
import signal
import sys
import time
from argparse import ArgumentParser
from pathlib import Path

from deepspeech2.config.options import add_output_option, new_parser
from deepspeech2.evaluation.experiments import START, missing_folders, plan_runs, read_change, read_experiment
from deepspeech2.evaluation.metrics import compare_over_seeds
from deepspeech2.evaluation.reports import few_speakers, strategy_rows, strategy_table, write_strategy_report
from deepspeech2.evaluation.strategies import carry_out, collect, recommend, time_left_s
from deepspeech2.system.command_line import run

FINETUNE = Path(__file__).with_name("finetune.py")


def make_parser() -> ArgumentParser:
    parser = new_parser("recipes/compare_strategies.py", __doc__)
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML file of an experiment")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="STRATEGY",
        help="run and compare this one and the baseline; may be given again (default: all of the file's)",
    )
    parser.add_argument(
        "--set",
        type=read_change,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of all runs, which wins over the file's common ones; may be given again",
    )
    parser.add_argument_group("compute").add_argument(
        "--num_workers",
        type=int,
        default=1,
        help="trainings at a time, each a process of one thread; 0: one a core (default: 1, for each takes the "
        "memory of a whole training)",
    )
    add_output_option(parser, None, "folder to write into (default: outputs/adaptation/NAME_OF_CONFIG)")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's way to say Ctrl-C
    experiment = read_experiment(args.config, dict(args.set), args.only)
    folder = args.output_dir or Path("outputs", "adaptation", args.config.stem)
    runs = plan_runs(experiment, folder)
    if missing := missing_folders(runs):
        sys.exit(
            f"compare_strategies.py: {Path.cwd()} has no {', '.join(missing)}; the head of {args.config} says what "
            "makes it: recipes/adaptation/prepare.py for the experiments beside it"
        )
    num_done = sum(one.done for one in runs)
    print(f"{len(runs)} runs in {folder}, {num_done} of them done already", flush=True)
    failed, started = [], time.monotonic()
    for trained, (ended, trouble) in enumerate(carry_out(runs, FINETUNE, args.num_workers), start=1):
        left_min = time_left_s(trained, len(runs) - num_done - trained, started) / 60
        print(
            f"{num_done + trained} of {len(runs)}: {ended.strategy}, seed {ended.seed}; about {left_min:.0f} min left",
            flush=True,
        )
        if trouble:
            failed.append(ended)
            print(trouble, file=sys.stderr, flush=True)
    if failed:
        names = "; ".join(f"{one.strategy} with seed {one.seed}" for one in failed)
        print(f"{len(failed)} of {len(runs)} runs failed: {names}; the same command runs them again", file=sys.stderr)

    outcomes = collect(experiment, runs)
    baseline = outcomes[experiment.baseline]
    comparisons = {
        name: compare_over_seeds(baseline.target, one.target)
        for name, one in outcomes.items()
        if name != experiment.baseline
    }
    chosen, reason = recommend(experiment, outcomes)
    missing = ", ".join(name for name in experiment.strategies if name not in outcomes)
    report = write_strategy_report(
        folder,
        title=experiment.title,
        command=shlex.join(["python", "recipes/compare_strategies.py", *argv]),
        recommendation=f"Take {chosen}: {reason}",
        outcomes=outcomes,
        comparisons=comparisons,
        settings={START: {}, **experiment.strategies},
        facts={
            "target": experiment.target,
            "source": experiment.source,
            "seeds": ", ".join(map(str, experiment.seeds)),
            "baseline": experiment.baseline,
            "without all their runs, left out": missing or "none",
        },
    )
    print(f"\n{strategy_table(strategy_rows(outcomes, comparisons))}")
    if doubt := few_speakers(outcomes[START].target):
        print(doubt)
    print(f"Take {chosen}: {reason}\nReport: {report}")
    return 1 if failed else 0


if __name__ == "__main__":
    run(main, stopped="stopped by Ctrl-C; the same command goes on")
