"""Compare fine-tuning strategies: train the runs, read their scores, and recommend one."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ..system.devices import available_cpus
from .experiments import CONFIG, START, Experiment, PlannedRun, with_seed
from .metrics import SeededScores, compare_over_seeds, over_seeds
from .metrics.bootstrap import BOOTSTRAP_SAMPLES
from .scoring import read_utterances, utterances_name

LOG = "log.txt"
BEFORE, AFTER = "scores-before", "scores-after"  # folders of a run
NUM_LOG_LINES = 15
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Outcome:
    """
    The result of a strategy over all its seeds.

    Args:
        name: the name of the strategy.
        target, source: scores on the two splits.
        num_trained: the number of trained parameters.
        seconds: the mean training time.
        logs: the Trainer's log of each run.
        own_budget: whether the strategy has another budget than the baseline.
    """

    name: str
    target: SeededScores
    source: SeededScores
    num_trained: int = 0
    seconds: float = 0.0
    logs: Sequence[Sequence[Mapping[str, Any]]] = ()
    own_budget: bool = False


def carry_out(runs: Sequence[PlannedRun], recipe: Path, num_workers: int) -> Iterator[tuple[PlannedRun, str]]:
    """
    Train the runs that are not finished. A stopped run resumes from its last checkpoint.

    If the caller is interrupted, the runs are asked to stop, save a checkpoint each, and are waited for.

    Args:
        runs: the runs from `plan_runs`.
        recipe: the path of recipes/finetune.py.
        num_workers: trainings in parallel, one thread each; 0 means one per core.

    Yields:
        Each run when it ends, with the end of its log if it failed, else "".

    Raises:
        ValueError: `num_workers` is negative.
    """
    if num_workers < 0:
        raise ValueError(f"num_workers is {num_workers}; expected the number of parallel trainings, or 0: one per core")
    started: list[subprocess.Popen] = []
    with ThreadPoolExecutor(num_workers or available_cpus()) as pool:
        waiting = {pool.submit(_train, run, recipe, started): run for run in runs if not run.done}
        try:
            for ended in as_completed(waiting):
                yield waiting[ended], ended.result()
        except BaseException:  # Ctrl-C, or a signal that is raised like it
            pool.shutdown(wait=False, cancel_futures=True)
            for process in started:
                process.terminate()
            raise


def _train(run: PlannedRun, recipe: Path, started: list[subprocess.Popen]) -> str:
    log = run.folder / LOG
    command = [sys.executable, str(recipe), str(run.folder / CONFIG)]
    with log.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=file, stderr=file)
        started.append(process)
        status = process.wait()
    if status == 0:
        for checkpoint in run.folder.glob("checkpoint-*"):  # 0.18 of the 0.2 GB of a run of the starter
            shutil.rmtree(checkpoint)
        return ""
    lines = log.read_text(encoding="utf-8").splitlines()[-NUM_LOG_LINES:]
    return "\n".join([f"exit status {status}; the end of {log}:", *lines])


def time_left_s(trained: int, left: int, started: float) -> float:
    """Estimate the remaining seconds from the mean time of the runs since `started` (`time.monotonic`)."""
    return (time.monotonic() - started) / trained * left


def collect(experiment: Experiment, runs: Iterable[PlannedRun]) -> dict[str, Outcome]:
    """
    Return the model before training, then every strategy whose runs are all finished.

    Raises:
        ValueError: the runs of the baseline are not all finished.
    """
    by_name: dict[str, list[PlannedRun]] = {}
    for run in runs:
        by_name.setdefault(run.strategy, []).append(run)
    done = {name: own for name, own in by_name.items() if all(run.done for run in own)}
    if experiment.baseline not in done:
        raise ValueError(
            f"the baseline {experiment.baseline} is not trained with every seed, so there is nothing to compare with"
        )
    outcomes = {START: _outcome(START, experiment, _scored_starts(experiment, done), BEFORE)}
    return outcomes | {name: _outcome(name, experiment, own, AFTER) for name, own in done.items()}


def _scored_starts(experiment: Experiment, done: Mapping[str, Sequence[PlannedRun]]) -> list[PlannedRun]:
    """Return for each seed a run that has scored its start: of the baseline, or of what was the baseline before."""
    start = experiment.settings(experiment.baseline).get("model_name_or_path")
    scored: dict[int, PlannedRun] = {}
    for run in chain(done[experiment.baseline], *done.values()):
        if run.settings.get("model_name_or_path") == with_seed(start, run.seed) and (run.folder / BEFORE).is_dir():
            scored.setdefault(run.seed, run)
    if missing := [run.folder for run in done[experiment.baseline] if run.seed not in scored]:
        raise ValueError(
            f"no finished run has scored the starting model of {experiment.baseline}; remove "
            f"{', '.join(map(str, missing))}, and run the same command again"
        )
    return list(scored.values())


def _outcome(name: str, experiment: Experiment, runs: Sequence[PlannedRun], stage: str) -> Outcome:
    target, source = (
        over_seeds(
            {
                run.seed: read_utterances(run.folder / stage / utterances_name(with_seed(split, run.seed)))
                for run in runs
            }
        )
        for split in (experiment.target, experiment.source)
    )
    if name == START:
        return Outcome(name, target, source)
    facts = json.loads((runs[0].folder / "run.json").read_text(encoding="utf-8"))
    logs = [json.loads((run.folder / "trainer_state.json").read_text(encoding="utf-8"))["log_history"] for run in runs]
    seconds = [max(line["elapsed_s"] for line in log) for log in logs]
    return Outcome(
        name,
        target,
        source,
        num_trained=int(facts["trained parameters"].replace(",", "")),
        seconds=sum(seconds) / len(seconds),
        logs=logs,
        own_budget=experiment.has_own_budget(name),
    )


def recommend(experiment: Experiment, outcomes: Mapping[str, Outcome]) -> tuple[str, str]:
    """
    Recommend a strategy, and give the reason.

    Candidates are the strategies that raise the source WER by at most `max_source_loss` points and have the budget of
    the baseline. The best one has the lowest target WER. Of all candidates that are not significantly worse than the
    best, the one with the fewest trained parameters is recommended. The test is paired (`compare_over_seeds`), with p
    below 0.05 divided by the number of candidates (Bonferroni), because the best of many is partly the best by luck.

    Returns:
        The name of the strategy, and the reason as sentences.
    """
    start = outcomes[START]
    strategies = [one for name, one in outcomes.items() if name != START and not experiment.has_own_budget(name)]
    kept = [one for one in strategies if 100 * (one.source.wer - start.source.wer) <= experiment.max_source_loss]
    best = min([*kept, start], key=lambda one: one.target.wer)
    level = [one for one in [*kept, start] if one is best or not _worse(best.target, one.target, len(kept))]
    chosen = min(level, key=lambda one: (one.num_trained, one.target.wer))
    reason = (
        f"{len(kept)} of {len(strategies)} strategies raise the source WER by at most {experiment.max_source_loss:g} "
        "points"
    )
    if best is start:
        return chosen.name, f"{reason}. None of them has a lower target WER than the start, {_percent(best)}."
    reason += f". Of these, {best.name} has the lowest target WER, {_percent(best)}"
    if chosen is start:
        return chosen.name, f"{reason}. This is not significantly lower than that of the start, {_percent(start)}."
    if chosen is not best:
        reason += f". {chosen.name}, {_percent(chosen)}, is not significantly worse and trains fewer parameters"
    return (
        chosen.name,
        f"{reason}. It changes the source WER by {100 * (chosen.source.wer - start.source.wer):+.1f} points.",
    )


def _percent(outcome: Outcome) -> str:
    return f"{100 * outcome.target.wer:.1f} %"


def _worse(best: SeededScores, other: SeededScores, kept: int) -> bool:
    samples = max(BOOTSTRAP_SAMPLES, 100 * kept)  # p is 2 / samples at least
    difference = compare_over_seeds(best, other, samples)
    return difference.wer_difference > 0 and difference.p_value < SIGNIFICANT / max(kept, 1)
