"""Strategies of fine-tuning compared: the runs carried out, read back as scores, and which one to take."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..system.devices import available_cpus
from .experiments import CONFIG, START, Experiment, PlannedRun, with_seed
from .metrics import SeededScores, compare_over_seeds, over_seeds
from .metrics.bootstrap import BOOTSTRAP_SAMPLES
from .scoring import read_utterances, utterances_name

LOG = "log.txt"
NUM_LOG_LINES = 15
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Outcome:
    """
    A strategy over all its seeds: `num_trained` parameters learnt, for `seconds` on average; `logs` are the Trainer's.
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
    Trains what is not done yet; a run that was stopped goes on from its last checkpoint.

    When the caller is interrupted, the runs are told to stop, each with a checkpoint, and waited for.

    Args:
        runs: of `plan_runs`.
        recipe: recipes/finetune.py.
        num_workers: so many at a time, one thread each; 0: one a core.

    Yields:
        Each run as it ends, with the end of its log where it failed, else "".
    """
    if num_workers < 0:
        raise ValueError(f"num_workers is {num_workers}; expected trainings at a time, or 0 for one a core")
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
        for checkpoint in run.folder.glob("checkpoint-*"):  # of the 0.2 GB of a run of the starter all but 0.02
            shutil.rmtree(checkpoint)
        return ""
    lines = log.read_text(encoding="utf-8").splitlines()[-NUM_LOG_LINES:]
    return "\n".join([f"status {status}; the end of {log}:", *lines])


def time_left_s(trained: int, left: int, started: float) -> float:
    """By the mean of what was trained since `started` (`time.monotonic`)."""
    return (time.monotonic() - started) / trained * left


def collect(experiment: Experiment, runs: Iterable[PlannedRun]) -> dict[str, Outcome]:
    """
    The model before any training, then the strategies all of whose runs are done.

    Raises:
        ValueError: the baseline's are not.
    """
    by_name: dict[str, list[PlannedRun]] = {}
    for run in runs:
        by_name.setdefault(run.strategy, []).append(run)
    done = {name: own for name, own in by_name.items() if all(run.done for run in own)}
    if experiment.baseline not in done:
        raise ValueError(
            f"the baseline {experiment.baseline} has not been run with every seed: nothing to compare with"
        )
    outcomes = {START: _outcome(START, experiment, done[experiment.baseline], "scores-before")}
    return outcomes | {name: _outcome(name, experiment, own, "scores-after") for name, own in done.items()}


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
    The strategy to take, and why.

    Of those that cost the source at most `max_source_loss` points, the lowest target WER; those that are not
    significantly worse (paired, `compare_over_seeds`, p below 0.05 by the number of those strategies, for the best of
    many is the best by luck too: Bonferroni) share the place: the one with the fewest trained parameters has it. A
    strategy with a budget of its own is not taken.
    """
    start = outcomes[START]
    strategies = [one for name, one in outcomes.items() if name != START and not experiment.has_own_budget(name)]
    kept = [one for one in strategies if 100 * (one.source.wer - start.source.wer) <= experiment.max_source_loss]
    best = min([*kept, start], key=lambda one: one.target.wer)
    level = [one for one in [*kept, start] if one is best or not _worse(best.target, one.target, len(kept))]
    chosen = min(level, key=lambda one: (one.num_trained, one.target.wer))
    reason = (
        f"{len(kept)} of {len(strategies)} strategies cost the source no more than {experiment.max_source_loss:g} "
        "points of WER"
    )
    if best is start:
        return chosen.name, f"{reason}; none of them has a target WER below the start's, {_percent(best)}."
    reason += f". Of these {best.name} has the lowest target WER, {_percent(best)}"
    if chosen is start:
        return chosen.name, f"{reason}, which is not significantly below the start's, {_percent(start)}."
    if chosen is not best:
        reason += f"; {chosen.name}, {_percent(chosen)}, is not significantly worse and trains fewer parameters"
    return (
        chosen.name,
        f"{reason}. It changes the source by {100 * (chosen.source.wer - start.source.wer):+.1f} points.",
    )


def _percent(outcome: Outcome) -> str:
    return f"{100 * outcome.target.wer:.1f} %"


def _worse(best: SeededScores, other: SeededScores, kept: int) -> bool:
    samples = max(BOOTSTRAP_SAMPLES, 100 * kept)  # p is 2 / samples at least
    difference = compare_over_seeds(best, other, samples)
    return difference.wer_difference > 0 and difference.p_value < SIGNIFICANT / max(kept, 1)
