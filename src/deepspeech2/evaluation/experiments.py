"""What is compared, declared in one YAML: strategies of fine-tuning at one budget, and the runs that they make."""

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

# What makes two trainings as long as each other, whatever they learn from and by.
BUDGET = (
    "max_steps", "num_train_epochs", "batch_seconds", "per_device_train_batch_size", "gradient_accumulation_steps",
)  # fmt: skip
OWN_BUDGET = "budget"
START = "start"
CONFIG, RESULTS = "config.yaml", "results.json"  # of a run; finetune.py writes the second one, at its end
FREE = {"output_dir", "credit", "cpu_threads"}  # change nothing of what a run learns


@dataclass(frozen=True)
class Experiment:
    """
    A question, as its YAML declares it.

    Args:
        title: of the report.
        common: settings of recipes/finetune.py, those of every run; `{seed}` in a text stands for the run's seed.
        strategies: name -> settings on top of the common ones; `budget: own` among them allows another budget.
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

    def settings(self, name: str) -> dict[str, Any]:
        """Of a strategy, for recipes/finetune.py."""
        return {key: value for key, value in (self.common | self.strategies[name]).items() if key != OWN_BUDGET}

    def has_own_budget(self, name: str) -> bool:
        return OWN_BUDGET in self.strategies[name]


@dataclass(frozen=True)
class PlannedRun:
    """One strategy with one seed, in a folder of its own."""

    strategy: str
    seed: int
    folder: Path
    settings: dict[str, Any]

    @property
    def done(self) -> bool:
        return (self.folder / RESULTS).is_file()


def missing_folders(runs: Sequence[PlannedRun]) -> list[str]:
    """Corpora and checkpoints of the runs that are to be on this machine, for no id of the Hub has two slashes."""
    keys = ("model_name_or_path", "dataset_name", "eval_dataset_name", "unlabelled_dataset_name", "transcripts")
    values = [run.settings.get(key) or [] for run in runs for key in keys]
    names = {name for value in values for name in ([value] if isinstance(value, str) else value)}
    return sorted(name for name in names if name.count("/") > 1 and not Path(name).exists())


def read_change(text: str) -> tuple[str, Any]:
    """
    A setting for all runs, as the command line has it: `max_steps=5`, the value as in YAML.

    Raises:
        ValueError: no `=`, or no YAML after it.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is no setting; expected KEY=VALUE")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f"the value of {text!r} is not YAML: {error}") from error


def read_experiment(path: Path, changes: Mapping[str, Any] | None = None, only: Collection[str] = ()) -> Experiment:
    """
    Args:
        path: the YAML file.
        changes: settings that win over the file's common ones.
        only: strategies to keep beside the baseline; all where none is named.

    Raises:
        RecipeError: every fault of the file, strategies of unequal budgets among them.
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
            kind = {dict: "'key: value' pairs", list: "a list", str: "a text"}.get(expected, "a number")
            faults.append(f"{name} is {value!r}; expected {kind}")
    strategies = content.get("strategies")
    for name, own in strategies.items() if isinstance(strategies, dict) else ():
        if not (own is None or isinstance(own, dict)):
            faults.append(
                f"the strategy {name} is {own!r}; expected 'key: value' pairs, or nothing for the common ones"
            )
    for key in sorted((changes or {}).keys() & known.keys()):
        faults.append(f"{key} is no setting of recipes/finetune.py, which --set is for; change it in the file")
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
    """Leaves the wanted strategies alone; gives those that there are not."""
    faults = []
    for name in sorted(wanted - strategies.keys()):
        faults.append(f"there is no strategy {name!r}{did_you_mean(name, strategies)}")
    for name in strategies.keys() - wanted:
        del strategies[name]
    return faults


def _faults(experiment: Experiment) -> list[str]:
    names = list(experiment.strategies)
    faults = [
        f"the strategy {name!r} cannot name a folder; expected letters, digits, spaces and any of , . + - _"
        for name in names
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w ,.+-]*", name)
    ]
    if START in names:
        faults.append(f"a strategy cannot be called {START!r}, which is the model before any")
    seeds = experiment.seeds
    if not seeds or len(set(seeds)) < len(seeds) or not all(type(seed) is int for seed in seeds):
        faults.append(f"seeds are {seeds}; expected a list of whole numbers, each once")
    faults += [
        f"{name}: budget is {own[OWN_BUDGET]!r}; expected own, for another budget than the baseline's, or no such key"
        for name, own in experiment.strategies.items()
        if own.get(OWN_BUDGET, "own") != "own"
    ]
    if experiment.baseline not in names:
        return [
            *faults,
            f"the baseline {experiment.baseline!r} is none of the strategies: {', '.join(map(str, names))}",
        ]
    if not experiment.settings(experiment.baseline).get("model_name_or_path"):
        faults.append(
            f"the baseline {experiment.baseline!r} has no model_name_or_path; expected a checkpoint, whose scores "
            "before any training all strategies are held against"
        )
    picked = [name for name in names if _picked_by_target(experiment, experiment.settings(name))]
    if picked:
        faults.append(
            f"{', '.join(picked)}: the best checkpoint would be picked by the target itself, {experiment.target!r}; "
            "expected an eval_split of other speech, or load_best_model_at_end: false"
        )
    expected = experiment.settings(experiment.baseline)
    for name in names:
        settings = experiment.settings(name)
        different = [key for key in BUDGET if settings.get(key) != expected.get(key)]
        if not experiment.has_own_budget(name):
            faults += [
                f"{name} has another budget than {experiment.baseline}: {key} {settings.get(key)} instead of "
                f"{expected.get(key)}; give all the same, or {name} `budget: own`, and the table says so"
                for key in different
            ]
    return faults


def _picked_by_target(experiment: Experiment, settings: Mapping[str, Any]) -> bool:
    is_target = settings.get("eval_split", experiment.target) == experiment.target
    return is_target and settings.get("load_best_model_at_end", True) is not False


def plan_runs(experiment: Experiment, folder: Path) -> list[PlannedRun]:
    """
    Every strategy with every seed, the seeds last, so that a comparison that is stopped has all strategies.

    Writes each run's settings into its folder.

    Raises:
        RecipeError: settings that recipes/finetune.py would refuse, and runs that were begun with others, of all
            strategies at once.
    """
    runs: list[PlannedRun] = []
    faults: dict[str, None] = {}
    for seed in experiment.seeds:
        for name in experiment.strategies:
            run_folder = folder / name / f"seed-{seed}"
            own = {"seed": seed, "test_split": [experiment.target, experiment.source], "output_dir": str(run_folder)}
            settings = with_seed({"eval_split": experiment.target} | experiment.settings(name) | own, seed)
            runs.append(PlannedRun(name, seed, run_folder, settings))
    for run in runs:
        if changed := changed_since(run.folder, run.settings):
            faults[
                f"{run.strategy}: {run.folder} holds a run with other settings: {'; '.join(changed)}. Set them as "
                "before, remove the folder, or name another --output_dir"
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
    """The value with each `{seed}` in its texts replaced."""
    if isinstance(value, dict):
        return {key: with_seed(one, seed) for key, one in value.items()}
    if isinstance(value, list):
        return [with_seed(one, seed) for one in value]
    return value.replace("{seed}", str(seed)) if isinstance(value, str) else value


def changed_since(folder: Path, settings: dict[str, Any]) -> list[str]:
    """
    What differs from a training that `folder` holds, finished or stopped, each with both values; that the weights it
    starts from are younger than its results is one too. Nothing where none was begun.
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
        changed.append(f"{start} is younger than the results")
    return changed
