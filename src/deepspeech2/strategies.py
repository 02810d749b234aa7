"""Ways of fine-tuning against each other: declared in one YAML, run at one budget, read back as scores."""

import difflib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from .checkpoints import write_whole
from .metrics import Comparison, Scores, Utterance, compare, score
from .parsing import RecipeError, parse_recipe
from .scoring import read_utterances, utterances_name
from .yaml_files import read_yaml

logger = logging.getLogger(__name__)

# What makes two trainings as long as each other, whatever they learn from and by.
BUDGET = (
    "max_steps", "num_train_epochs", "batch_seconds", "per_device_train_batch_size", "gradient_accumulation_steps",
)  # fmt: skip
START = "start"
LOG_NAME = "log.txt"
NUM_LOG_LINES = 15
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Experiment:
    """
    A question, as its YAML declares it.

    Args:
        title: of the report.
        common: settings of recipes/finetune.py, those of every run; `{seed}` in a text stands for the run's seed.
        strategies: name -> settings on top of the common ones.
        baseline: the strategy that the others are compared with.
        target, source: what is learnt, and what is not to be forgotten: splits as `test_split` names them.
        seeds: every strategy is run with each.
        max_source_loss: points of source WER, in per cent, that the recommended strategy may cost.
    """

    title: str
    common: dict[str, Any]
    strategies: dict[str, dict[str, Any]]
    baseline: str
    target: str
    source: str
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])
    max_source_loss: float = 1.0


@dataclass(frozen=True)
class Run:
    """One strategy with one seed, in a folder of its own."""

    strategy: str
    seed: int
    folder: Path
    settings: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """
    A strategy over all its seeds.

    `target` and `source` hold every run's utterances. What their bootstrap draws as a whole is a speaker with all
    runs' hypotheses, or a clip where there is one speaker: the intervals say how far other speakers would move the mean
    of these seeds, `target_wers` and `source_wers` how far the seeds themselves do. `num_trained` parameters learnt,
    for `seconds` on average; `logs` are the Trainer's.
    """

    name: str
    target: Scores
    source: Scores
    target_wers: Sequence[float]
    source_wers: Sequence[float]
    num_trained: int = 0
    seconds: float = 0.0
    logs: Sequence[Sequence[Mapping[str, Any]]] = ()


def read_experiment(path: Path) -> Experiment:
    """
    Raises:
        RecipeError: every fault of the file and of every strategy's settings, and strategies of unequal budgets.
    """
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise RecipeError([str(error)]) from error
    known = {one.name: one for one in fields(Experiment)}
    faults = []
    for key in content.keys() - known.keys():
        nearest = difflib.get_close_matches(str(key), known, n=1)
        faults.append(f"{path}: unknown key {key!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else ""))
    required = {name for name, one in known.items() if one.default is MISSING and one.default_factory is MISSING}
    faults += [f"{path}: {name} is missing" for name in sorted(required - content.keys())]
    types: dict[str, Any] = {"common": dict, "strategies": dict, "seeds": list, "max_source_loss": (int, float)}
    for name, value in content.items():
        expected = types.get(name, str)
        if name in known and not isinstance(value, expected):
            kind = {dict: "'key: value' pairs", list: "a list", str: "a text"}.get(expected, "a number")
            faults.append(f"{path}: {name} is {value!r}; expected {kind}")
    if faults:
        raise RecipeError(faults)
    experiment = Experiment(**{**content, "strategies": {key: one or {} for key, one in content["strategies"].items()}})
    if experiment.baseline not in experiment.strategies:
        names = ", ".join(experiment.strategies)
        raise RecipeError([f"{path}: the baseline {experiment.baseline!r} is none of the strategies: {names}"])
    if START in experiment.strategies:
        faults.append(f"{path}: a strategy cannot be called {START!r}, which is the model before any")
    if not experiment.seeds or not all(isinstance(seed, int) for seed in experiment.seeds):
        faults.append(f"{path}: seeds are {experiment.seeds}; expected a list of whole numbers")
    if not experiment.common.get("model_name_or_path"):
        faults.append(f"{path}: common names no model_name_or_path, which all strategies start from")
    faults += _unequal_budgets(experiment)
    if faults:
        raise RecipeError(faults)
    return experiment


def _unequal_budgets(experiment: Experiment) -> list[str]:
    def budget(name: str) -> dict[str, Any]:
        settings = experiment.common | experiment.strategies[name]
        return {key: settings.get(key) for key in BUDGET}

    expected = budget(experiment.baseline)
    return [
        f"{name} has another budget than {experiment.baseline}: {key} {value} instead of {expected[key]}; a comparison "
        "gives all the same"
        for name in experiment.strategies
        for key, value in budget(name).items()
        if value != expected[key]
    ]


def plan_runs(experiment: Experiment, folder: Path) -> list[Run]:
    """
    Every strategy with every seed, the seeds last, so that a comparison that is stopped has all strategies.

    Raises:
        RecipeError: settings that recipes/finetune.py would refuse, of all strategies at once.
    """
    runs: list[Run] = []
    faults: dict[str, None] = {}
    for seed in experiment.seeds:
        for name, own in experiment.strategies.items():
            settings = experiment.common | own | {"seed": seed, "test_split": [experiment.target, experiment.source]}
            settings = _with_seed(settings, seed) | {"output_dir": str(folder / name / f"seed-{seed}")}
            settings.setdefault("eval_split", _with_seed(experiment.target, seed))
            runs.append(Run(name, seed, Path(settings["output_dir"]), settings))
    folder.mkdir(parents=True, exist_ok=True)
    for run in runs:
        config = folder / f"{run.strategy}-{run.seed}.yaml"
        write_whole(config, yaml.safe_dump(run.settings, allow_unicode=True))
        try:
            parse_recipe([str(config)], config)
        except RecipeError as error:
            faults |= {f"{run.strategy}: {fault.removeprefix(f'{config}: ')}": None for fault in error.faults}
    if faults:
        raise RecipeError(list(faults))
    return runs


def _with_seed(value: Any, seed: int) -> Any:
    if isinstance(value, dict):
        return {key: _with_seed(one, seed) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_seed(one, seed) for one in value]
    return value.replace("{seed}", str(seed)) if isinstance(value, str) else value


def carry_out(runs: Sequence[Run], recipe: Path, processes: int) -> Iterator[tuple[Run, str]]:
    """
    Trains what is not trained yet; a run that was stopped goes on.

    Args:
        runs: of `plan_runs`.
        recipe: recipes/finetune.py.
        processes: so many at a time, one thread each.

    Yields:
        Each run as it ends, with the end of its log where it failed, else "".
    """
    with ThreadPoolExecutor(processes) as pool:
        waiting = {pool.submit(_train, run, recipe): run for run in runs}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BaseException:  # Ctrl-C: those that wait for their turn do not start
            pool.shutdown(cancel_futures=True)
            raise


def _train(run: Run, recipe: Path) -> str:
    if (run.folder / "results.json").is_file():
        return ""
    run.folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(recipe), str(run.folder.parents[1] / f"{run.strategy}-{run.seed}.yaml")]
    log = run.folder / LOG_NAME
    with log.open("a", encoding="utf-8") as file:
        done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=file, stderr=file, check=False)
    if done.returncode == 0:
        return ""
    lines = log.read_text(encoding="utf-8").splitlines()[-NUM_LOG_LINES:]
    return "\n".join([f"status {done.returncode}; the end of {log}:", *lines])


def collect(experiment: Experiment, runs: Iterable[Run]) -> dict[str, Outcome]:
    """The model before any training, then the strategies, each over those of its seeds that all have been run with."""
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        by_name.setdefault(run.strategy, []).append(run)
    baseline = by_name[experiment.baseline]
    outcomes = {START: _outcome(START, experiment, baseline, "scores-before")}
    for name, own in by_name.items():
        outcomes[name] = _outcome(name, experiment, own, "scores-after")
    return outcomes


def _outcome(name: str, experiment: Experiment, runs: Sequence[Run], stage: str) -> Outcome:
    scored = []
    for split in (experiment.target, experiment.source):
        names = {run.seed: utterances_name(_with_seed(split, run.seed)) for run in runs}
        found = {str(run.seed): read_utterances(run.folder / stage / names[run.seed]) for run in runs}
        scored.append(pool(found))
    (target, target_wers), (source, source_wers) = scored
    if name == START:
        return Outcome(name, target, source, target_wers, source_wers)
    states = [json.loads((run.folder / "trainer_state.json").read_text(encoding="utf-8")) for run in runs]
    facts = json.loads((runs[0].folder / "run.json").read_text(encoding="utf-8"))
    logs = [state["log_history"] for state in states]
    seconds = [max(line["elapsed_s"] for line in log) for log in logs]
    return Outcome(
        name,
        target,
        source,
        target_wers,
        source_wers,
        num_trained=int(facts["trained parameters"].replace(",", "")),
        seconds=sum(seconds) / len(seconds),
        logs=logs,
    )


def pool(runs: Mapping[str, Sequence[Utterance]]) -> tuple[Scores, list[float]]:
    """Runs on the same utterances as one, see `Outcome`, and the WER of each."""
    together = []
    for name, utterances in runs.items():
        alone = len({one.speaker_id for one in utterances}) == 1
        together += [
            Utterance(
                f"{name} {one.id}", one.id if alone else one.speaker_id, one.duration_s, one.reference, one.hypothesis
            )
            for one in utterances
        ]
    return score(together), [score(utterances, bootstrap_samples=0).wer for utterances in runs.values()]


def recommend(experiment: Experiment, outcomes: Mapping[str, Outcome]) -> tuple[str, str]:
    """
    The strategy to take, and why.

    Of those that cost the source at most `max_source_loss` points, the lowest target WER; those that are not
    significantly worse (paired bootstrap, p < 0.05) share the place: the one with the fewest trained parameters has it.
    """
    start = outcomes[START]
    kept = {
        name: one
        for name, one in outcomes.items()
        if 100 * (one.source.wer - start.source.wer) <= experiment.max_source_loss
    }
    best = min(kept.values(), key=lambda one: one.target.wer)
    level = [one for one in kept.values() if one is best or not _worse(compare(best.target, one.target))]
    chosen = min(level, key=lambda one: (one.num_trained, one.target.wer))
    lost = 100 * (chosen.source.wer - start.source.wer)
    reason = (
        f"{len(kept) - 1} of {len(outcomes) - 1} strategies cost the source no more than "
        f"{experiment.max_source_loss:g} points of WER. Of these {best.name} has the lowest target WER, "
        f"{100 * best.target.wer:.1f} %"
    )
    if chosen is not best:
        reason += (
            f"; {chosen.name}, {100 * chosen.target.wer:.1f} %, is not significantly worse and trains fewer parameters"
        )
    return chosen.name, f"{reason}. It changes the source by {lost:+.1f} points."


def _worse(comparison: Comparison) -> bool:
    p_value = comparison.p_value
    return comparison.wer_difference > 0 and p_value is not None and p_value < SIGNIFICANT


def time_left_s(done: int, count: int, started: float) -> float:
    """By the mean of what is done, seconds since `started` (`time.monotonic`)."""
    return (time.monotonic() - started) / max(1, done) * (count - done)
