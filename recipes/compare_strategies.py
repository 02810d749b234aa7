"""
Compare fine-tuning strategies at the same budget with several seeds, and recommend one.

    python recipes/adaptation/prepare.py LIBRISPEECH_MINI --one_person MY_RECORDINGS
    python recipes/compare_strategies.py recipes/adaptation/one_person.yaml --num_workers 2

The recipe writes the runs, strategies.md, plots and index.html into --output_dir. The same command resumes: it keeps
the finished runs and repeats those that failed. recipes/adaptation/README.md explains how to declare an experiment.
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
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML file of the experiment")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="STRATEGY",
        help="compare only this strategy with the baseline; can be repeated (default: all strategies of the file)",
    )
    parser.add_argument(
        "--set",
        type=read_change,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="setting of all runs, which overrides the common settings of the file; can be repeated",
    )
    parser.add_argument_group("compute").add_argument(
        "--num_workers",
        type=int,
        default=1,
        help="number of training runs at a time, each a process of one thread; 0: one for each core (default: 1, since "
        "each run needs the memory of a full training)",
    )
    add_output_option(parser, None, "folder to write into (default: outputs/adaptation/NAME_OF_CONFIG)")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster stops a job by SIGTERM
    experiment = read_experiment(args.config, dict(args.set), args.only)
    folder = args.output_dir or Path("outputs", "adaptation", args.config.stem)
    runs = plan_runs(experiment, folder)
    if missing := missing_folders(runs):
        sys.exit(
            f"compare_strategies.py: {Path.cwd()} has no {', '.join(missing)}; run the command at the head of "
            f"{args.config} that makes it (recipes/adaptation/prepare.py for the experiments in that folder)"
        )
    num_done = sum(one.done for one in runs)
    print(f"{len(runs)} runs in {folder}, {num_done} of them finished", flush=True)
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
        print(
            f"{len(failed)} of {len(runs)} runs failed: {names}; run the same command to repeat them", file=sys.stderr
        )

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
            "left out, because runs are missing": missing or "none",
        },
    )
    print(f"\n{strategy_table(strategy_rows(outcomes, comparisons))}")
    if doubt := few_speakers(outcomes[START].target):
        print(doubt)
    print(f"Take {chosen}: {reason}\nReport: {report}")
    return 1 if failed else 0


if __name__ == "__main__":
    run(main, stopped="stopped by Ctrl-C; run the same command to resume")
