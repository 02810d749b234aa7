"""Experiments: one YAML file declares fine-tuning strategies with the same budget, and gives the runs to train."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from ..config.parser import RecipeError, parse_recipe
from ..config.suggestions import did_you_mean
from ..config.yaml_loader import read_yaml
from ..system.files import write_whole

# Two trainings have the same budget if these settings agree, whatever their data and method.
BUDGET = (
    "max_steps", "num_train_epochs", "batch_seconds", "per_device_train_batch_size", "gradient_accumulation_steps",
)  # fmt: skip
OWN_BUDGET = "budget"
START = "start"
CONFIG, RESULTS = "config.yaml", "results.json"  # files of a run; finetune.py writes the results at its end
FREE = {"output_dir", "credit", "cpu_threads", "score_start"}  # settings that do not change the trained model


@dataclass(frozen=True)
class Experiment:
    """
    An experiment, as its YAML file declares it.

    Args:
        title: the title of the report.
        common: settings of recipes/finetune.py for every run. `{seed}` in a text stands for the seed of the run.
        strategies: name -> settings on top of the common ones. `budget: own` allows another budget.
        baseline: the strategy with which the others are compared.
        target: the split to learn, named as in `test_split`.
        source: the split that should not be forgotten, named as in `test_split`.
        seeds: every strategy is trained with each of these seeds.
        max_source_loss: how much the recommended strategy may raise the source WER, in percentage points.
    """

    title: str
    common: dict[str, Any]
    strategies: dict[str, dict[str, Any]]
    baseline: str
    target: str
    source: str
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])
    max_source_loss: float = 1.0

    def settings(self, name: str) -> dict[str, Any]:
        """Return the settings of a strategy, for recipes/finetune.py."""
        return {key: value for key, value in (self.common | self.strategies[name]).items() if key != OWN_BUDGET}

    def has_own_budget(self, name: str) -> bool:
        return OWN_BUDGET in self.strategies[name]


@dataclass(frozen=True)
class PlannedRun:
    """The training of one strategy with one seed, in its own folder."""

    strategy: str
    seed: int
    folder: Path
    settings: dict[str, Any]

    @property
    def done(self) -> bool:
        return (self.folder / RESULTS).is_file()


def missing_folders(runs: Sequence[PlannedRun]) -> list[str]:
    """Return local corpora and checkpoints of the runs that do not exist. A name with two slashes is no Hub id."""
    keys = ("model_name_or_path", "dataset_name", "eval_dataset_name", "unlabelled_dataset_name", "transcripts")
    values = [run.settings.get(key) or [] for run in runs for key in keys]
    names = {name for value in values for name in ([value] if isinstance(value, str) else value)}
    return sorted(name for name in names if name.count("/") > 1 and not Path(name).exists())


def read_change(text: str) -> tuple[str, Any]:
    """
    Parse a setting for all runs from the command line, such as `max_steps=5`. The value is YAML.

    Raises:
        ValueError: there is no `=`, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not a setting; expected KEY=VALUE")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f"the value of {text!r} is not YAML: {error}") from error


def read_experiment(path: Path, changes: Mapping[str, Any] | None = None, only: Collection[str] = ()) -> Experiment:
    """
    Read an experiment from its YAML file.

    Args:
        path: the YAML file.
        changes: settings that override the common ones of the file.
        only: strategies to keep besides the baseline. If it is empty, all are kept.

    Raises:
        RecipeError: the file has faults, such as strategies with unequal budgets. All are reported together.
    """
    try:
        content = read_yaml(path)
    except ValueError as error:
        raise RecipeError([str(error)]) from error
    known = {one.name: one for one in fields(Experiment)}
    faults = []
    for key in content.keys() - known.keys():
        faults.append(f"unknown key {key!r}{did_you_mean(key, known)}")
    required = {name for name, one in known.items() if one.default is MISSING and one.default_factory is MISSING}
    faults += [f"{name} is missing" for name in sorted(required - content.keys())]
    types: dict[str, Any] = {"common": dict, "strategies": dict, "seeds": list, "max_source_loss": (int, float)}
    for name, value in content.items():
        expected = types.get(name, str)
        if name in known and not isinstance(value, expected):
            kind = {dict: "'key: value' pairs", list: "a list", str: "text"}.get(expected, "a number")
            faults.append(f"{name} is {value!r}; expected {kind}")
    strategies = content.get("strategies")
    for name, own in strategies.items() if isinstance(strategies, dict) else ():
        if not (own is None or isinstance(own, dict)):
            faults.append(
                f"the strategy {name} is {own!r}; expected 'key: value' pairs, or nothing for the common settings"
            )
    for key in sorted((changes or {}).keys() & known.keys()):
        faults.append(f"{key} is not a setting of recipes/finetune.py, so --set cannot change it; edit the file")
    if not faults:
        content["common"] |= changes or {}
        content["strategies"] = {name: own or {} for name, own in content["strategies"].items()}
        faults = _keep(content["strategies"], {content["baseline"], *only} if only else content["strategies"].keys())
    if not faults:
        experiment = Experiment(**content)
        faults = _faults(experiment)
    if faults:
        raise RecipeError([f"{path}: {fault}" for fault in faults])
    return experiment


def _keep(strategies: dict[str, Any], wanted: Collection[str]) -> list[str]:
    """Remove all strategies that are not wanted. Return a fault for each wanted one that does not exist."""
    faults = []
    for name in sorted(wanted - strategies.keys()):
        faults.append(f"there is no strategy {name!r}{did_you_mean(name, strategies)}")
    for name in strategies.keys() - wanted:
        del strategies[name]
    return faults


def _faults(experiment: Experiment) -> list[str]:
    names = list(experiment.strategies)
    faults = [
        f"the strategy {name!r} is not a valid folder name; expected letters, digits, spaces and any of , . + - _"
        for name in names
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w ,.+-]*", name)
    ]
    if START in names:
        faults.append(f"a strategy cannot be called {START!r}: this name stands for the model before training")
    seeds = experiment.seeds
    if not seeds or len(set(seeds)) < len(seeds) or not all(type(seed) is int for seed in seeds):
        faults.append(f"seeds is {seeds}; expected a list of different whole numbers")
    faults += [
        f"{name}: budget is {own[OWN_BUDGET]!r}; expected own, or no budget key if the budget equals the baseline's"
        for name, own in experiment.strategies.items()
        if own.get(OWN_BUDGET, "own") != "own"
    ]
    if experiment.baseline not in names:
        return [
            *faults,
            f"the baseline is {experiment.baseline!r}; expected one of the strategies: {', '.join(map(str, names))}",
        ]
    if not experiment.settings(experiment.baseline).get("model_name_or_path"):
        faults.append(
            f"the baseline {experiment.baseline!r} has no model_name_or_path; expected a checkpoint, because all "
            "strategies are compared with its scores before training"
        )
    picked = [name for name in names if _picked_by_target(experiment, experiment.settings(name))]
    if picked:
        faults.append(
            f"{', '.join(picked)}: the target {experiment.target!r} would select the best checkpoint, which biases its "
            "score; expected an eval_split of other speech, or load_best_model_at_end: false"
        )
    expected = experiment.settings(experiment.baseline)
    for name in names:
        settings = experiment.settings(name)
        different = [key for key in BUDGET if settings.get(key) != expected.get(key)]
        if not experiment.has_own_budget(name):
            faults += [
                f"{name} has another budget than {experiment.baseline}: {key} is {settings.get(key)} instead of "
                f"{expected.get(key)}; use the same value, or give {name} `budget: own`, which the table marks"
                for key in different
            ]
    return faults


def _picked_by_target(experiment: Experiment, settings: Mapping[str, Any]) -> bool:
    is_target = settings.get("eval_split", experiment.target) == experiment.target
    return is_target and settings.get("load_best_model_at_end", True) is not False


def plan_runs(experiment: Experiment, folder: Path) -> list[PlannedRun]:
    """
    Plan the runs of every strategy with every seed, and write the settings of each run into its folder.

    The order is seed by seed, so that an interrupted comparison covers all strategies.

    Raises:
        RecipeError: recipes/finetune.py would refuse some settings, or some runs were started with other settings. The
            faults of all strategies are reported together.
    """
    runs: list[PlannedRun] = []
    faults: dict[str, None] = {}
    for seed in experiment.seeds:
        for name in experiment.strategies:
            run_folder = folder / name / f"seed-{seed}"
            own = {"seed": seed, "test_split": [experiment.target, experiment.source], "output_dir": str(run_folder)}
            own["score_start"] = name == experiment.baseline  # once for each seed is enough
            settings = with_seed({"eval_split": experiment.target} | experiment.settings(name) | own, seed)
            runs.append(PlannedRun(name, seed, run_folder, settings))
    for run in runs:
        if changed := changed_since(run.folder, run.settings):
            faults[
                f"{run.strategy}: {run.folder} holds a run with other settings: {'; '.join(changed)}. Set them as "
                "before, remove the folder, or choose another --output_dir"
            ] = None
            continue
        config = run.folder / CONFIG
        config.parent.mkdir(parents=True, exist_ok=True)
        write_whole(config, yaml.safe_dump(run.settings, allow_unicode=True))
        try:
            parse_recipe([str(config)], config)
        except RecipeError as error:
            faults |= {f"{run.strategy}: {fault.removeprefix(f'{config}: ')}": None for fault in error.faults}
    if faults:
        raise RecipeError(list(faults))
    return runs


def with_seed(value: Any, seed: int) -> Any:
    """Return the value with every `{seed}` in its texts replaced."""
    if isinstance(value, dict):
        return {key: with_seed(one, seed) for key, one in value.items()}
    if isinstance(value, list):
        return [with_seed(one, seed) for one in value]
    return value.replace("{seed}", str(seed)) if isinstance(value, str) else value


def changed_since(folder: Path, settings: dict[str, Any]) -> list[str]:
    """
    Compare the settings with those of the training in `folder`, whether finished or stopped.

    Returns:
        A text for each setting that differs, with both values, and one if the starting weights are newer than the
        results. It is empty if no training was started.
    """
    config, results = folder / CONFIG, folder / RESULTS
    if not config.is_file() or not (results.is_file() or any(folder.glob("checkpoint-*"))):
        return []
    there = read_yaml(config)
    changed = [
        f"{key} was {there.get(key)!r} and is {settings.get(key)!r}"
        for key in sorted((there | settings).keys() - FREE)
        if there.get(key) != settings.get(key)
    ]
    start = Path(settings.get("model_name_or_path") or "") / "model.safetensors"
    if start.is_file() and results.is_file() and start.stat().st_mtime > results.stat().st_mtime:
        changed.append(f"{start} is newer than the results")
    return changed
