"""
Runs ways of fine-tuning at one budget, with several seeds, and says which to take.

    python recipes/compare_strategies.py recipes/adaptation/new_speaker.yaml --processes 2

Writes the runs, strategies.md, plots and index.html into `--output_dir`. The same command goes on where it was stopped:
finished runs are not done again. recipes/adaptation/README.md says how an experiment is declared.
"""

import argparse
import shlex
import sys
import time
from pathlib import Path

from deepspeech2.exits import end_run
from deepspeech2.metrics import compare
from deepspeech2.reports import strategy_rows, strategy_table, write_strategy_report
from deepspeech2.strategies import START, carry_out, collect, plan_runs, read_experiment, recommend, time_left_s

FINETUNE = Path(__file__).with_name("finetune.py")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipes/compare_strategies.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML file of an experiment")
    parser.add_argument(
        "--processes", type=int, default=1, help="trainings at a time, one thread each (default: %(default)s)"
    )
    parser.add_argument("--output_dir", type=Path, help="where to write (default: outputs/adaptation/NAME_OF_CONFIG)")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    experiment = read_experiment(args.config)
    folder = args.output_dir or Path("outputs", "adaptation", args.config.stem)
    runs = plan_runs(experiment, folder)
    failed, started = [], time.monotonic()
    for done, (run, trouble) in enumerate(carry_out(runs, FINETUNE, args.processes), start=1):
        left_min = time_left_s(done, len(runs), started) / 60
        print(f"{done} of {len(runs)}: {run.strategy}, seed {run.seed}; about {left_min:.0f} min left", flush=True)
        if trouble:
            failed.append(run)
            print(trouble, file=sys.stderr, flush=True)
    if failed:
        names = ", ".join(f"{run.strategy} with seed {run.seed}" for run in failed)
        print(f"{len(failed)} of {len(runs)} runs failed: {names}; the same command runs them again", file=sys.stderr)
        return 1
    outcomes = collect(experiment, runs)
    baseline = outcomes[experiment.baseline]
    comparisons = {
        name: compare(baseline.target, one.target) for name, one in outcomes.items() if name != experiment.baseline
    }
    chosen, reason = recommend(experiment, outcomes)
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
        },
    )
    print(f"\n{strategy_table(strategy_rows(outcomes, comparisons))}\nTake {chosen}: {reason}\nReport: {report}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("compare_strategies.py: stopped by Ctrl-C; the same command goes on")
    except (ValueError, OSError) as error:
        end_run("compare_strategies.py", error)
