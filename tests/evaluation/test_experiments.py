"""An experiment as its YAML declares it, and the runs that come of it."""

import os
from pathlib import Path

import pytest
import yaml

from deepspeech2.config.parser import RecipeError
from deepspeech2.evaluation.experiments import missing_folders, plan_runs, read_change, read_experiment

ROOT = Path(__file__).resolve().parents[2]
DECLARED = {
    "title": "A question",
    "common": {
        "model_name_or_path": "starter",
        "dataset_name": "synthetic",
        "max_steps": 5,
        "batch_seconds": 30,
        "load_best_model_at_end": False,
    },
    "strategies": {"low": {"learning_rate": 1e-4}, "high": {"learning_rate": 1e-2}},
    "baseline": "low",
    "target": "test",
    "source": "synthetic::validation",
    "seeds": [1, 2],
}


def declare(path: Path, **changes) -> Path:
    path.write_text(yaml.safe_dump(DECLARED | changes, sort_keys=False))
    return path


def test_an_experiment_is_read(tmp_path):
    experiment = read_experiment(declare(tmp_path / "a.yaml", strategies={"low": None, "high": {"learning_rate": 1}}))
    assert experiment.strategies == {"low": {}, "high": {"learning_rate": 1}} and experiment.seeds == [1, 2]
    assert experiment.max_source_loss == 1.0


def test_a_part_of_the_strategies_and_the_baseline(tmp_path):
    strategies = {"low": {}, "high": {"learning_rate": 1}, "higher": {"learning_rate": 2}}
    path = declare(tmp_path / "a.yaml", strategies=strategies)
    assert list(read_experiment(path, only=["higher"]).strategies) == ["low", "higher"]
    with pytest.raises(RecipeError, match="there is no strategy 'hihg'; did you mean 'high'"):
        read_experiment(path, only=["hihg"])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"sedes": [1]}, "unknown key 'sedes'; did you mean 'seeds'?"),
        ({"common": "max_steps"}, "common is 'max_steps'; expected 'key: value' pairs"),
        ({"seeds": ["one"]}, r"seeds is \['one'\]; expected a list of different whole numbers"),
        ({"seeds": [1, 1]}, r"seeds is \[1, 1\]; expected a list of different whole numbers"),
        ({"strategies": {"low": 5}}, "the strategy low is 5; expected 'key: value' pairs"),
        ({"strategies": {"low": {}, "../up": {}}}, r"the strategy '../up' is not a valid folder name"),
        ({"strategies": {"low": {"budget": "mine"}}}, "low: budget is 'mine'; expected own"),
        (
            {"common": {"model_name_or_path": "starter"}},
            "low, high: the target 'test' would select the best checkpoint, which biases its score; expected",
        ),
        (
            {"common": {"max_steps": 5, "eval_split": "validation"}},
            "the baseline 'low' has no model_name_or_path; expected a checkpoint",
        ),
        ({"baseline": "full"}, "the baseline is 'full'; expected one of the strategies: low, high"),
        ({"strategies": {"low": {}, "start": {}}}, "cannot be called 'start'"),
        (
            {"strategies": {"low": {}, "long": {"max_steps": 9}}},
            "another budget than low: max_steps is 9 instead of 5; use the same value, or give long `budget: own`",
        ),
    ],
)
def test_faults_of_an_experiment(tmp_path, changes, fault):
    with pytest.raises(RecipeError, match=fault):
        read_experiment(declare(tmp_path / "a.yaml", **changes))


def test_the_faults_of_a_file_come_at_once(tmp_path):
    config = declare(tmp_path / "a.yaml", strategies={"low": {}, "start": {"max_steps": 9}}, seeds=[])
    with pytest.raises(RecipeError) as caught:
        read_experiment(config)
    assert [fault.split(": ")[1].split(" ")[0] for fault in caught.value.faults] == ["a", "seeds", "start"]


def test_a_budget_of_its_own_is_no_setting(tmp_path):
    strategies = {"low": {}, "long": {"max_steps": 9, "budget": "own"}}
    experiment = read_experiment(declare(tmp_path / "a.yaml", strategies=strategies))
    assert experiment.has_own_budget("long") and not experiment.has_own_budget("low")
    assert experiment.settings("long")["max_steps"] == 9 and "budget" not in experiment.settings("long")


def test_what_is_to_lie_here_and_does_not_is_named(tmp_path):
    names = {"model_name_or_path": "you/model", "dataset_name": ["outputs/data/draw-{seed}", "openslr/corpus"]}
    common = DECLARED["common"] | names
    experiment = read_experiment(declare(tmp_path / "a.yaml", common=common))
    assert missing_folders(plan_runs(experiment, tmp_path)) == ["outputs/data/draw-1", "outputs/data/draw-2"]


def test_the_command_line_wins(tmp_path):
    changes = dict(map(read_change, ("max_steps=3", "dataset_name=draw-{seed}", "dataset_config=[a, b]")))
    assert changes == {"max_steps": 3, "dataset_name": "draw-{seed}", "dataset_config": ["a", "b"]}
    experiment = read_experiment(declare(tmp_path / "a.yaml"), changes)
    assert experiment.settings("low")["max_steps"] == 3 and experiment.settings("low")["batch_seconds"] == 30
    with pytest.raises(ValueError, match="'max_steps' is not a setting; expected KEY=VALUE"):
        read_change("max_steps")
    with pytest.raises(ValueError, match=r"the value of 'a=\[' is not YAML"):
        read_change("a=[")
    with pytest.raises(RecipeError, match="seeds is not a setting of"):
        read_experiment(declare(tmp_path / "a.yaml"), {"seeds": 1})


def test_the_faults_of_all_strategies_come_at_once(tmp_path):
    strategies = {"low": {}, "one": {"learning_rat": 1}, "two": {"ema_decay": 2}}
    experiment = read_experiment(declare(tmp_path / "a.yaml", strategies=strategies))
    with pytest.raises(RecipeError) as caught:
        plan_runs(experiment, tmp_path / "out")
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["one", "two"]
    assert "did you mean 'learning_rate'?" in caught.value.faults[0]


def test_a_run_is_the_common_settings_its_own_and_a_seed(tmp_path):
    common = DECLARED["common"] | {"dataset_name": "draw-{seed}", "transcripts": ["a{seed}.csv"]}
    experiment = read_experiment(declare(tmp_path / "a.yaml", common=common))
    runs = plan_runs(experiment, tmp_path / "out")
    assert [(run.strategy, run.seed) for run in runs] == [("low", 1), ("high", 1), ("low", 2), ("high", 2)]
    settings = runs[3].settings
    assert settings["dataset_name"] == "draw-2" and settings["transcripts"] == ["a2.csv"] and settings["seed"] == 2
    assert settings["learning_rate"] == 1e-2 and settings["max_steps"] == 5
    assert settings["test_split"] == ["test", "synthetic::validation"] and settings["eval_split"] == "test"
    assert settings["output_dir"] == str(tmp_path / "out" / "high" / "seed-2")


def test_a_run_begun_with_other_settings_is_refused_by_name(tmp_path):
    experiment = read_experiment(declare(tmp_path / "a.yaml"))
    runs = plan_runs(experiment, tmp_path / "out")
    changed = read_experiment(declare(tmp_path / "a.yaml", strategies={"low": {}, "high": {"learning_rate": 5e-2}}))
    plan_runs(changed, tmp_path / "out")  # nothing was begun: the settings may change
    (runs[1].folder / "checkpoint-3").mkdir()
    (runs[3].folder / "results.json").write_text("{}")
    with pytest.raises(RecipeError) as caught:
        plan_runs(experiment, tmp_path / "out")
    assert [fault.split(" holds")[0].split("/")[-1] for fault in caught.value.faults] == ["seed-1", "seed-2"]
    assert all("learning_rate was 0.05 and is 0.01" in fault for fault in caught.value.faults)
    assert [run.done for run in plan_runs(changed, tmp_path / "out")] == [False, False, False, True]


def test_results_older_than_the_weights_they_start_from_are_refused(tmp_path):
    (tmp_path / "starter").mkdir()
    weights = tmp_path / "starter" / "model.safetensors"
    weights.touch()
    config = declare(tmp_path / "a.yaml", common=DECLARED["common"] | {"model_name_or_path": str(tmp_path / "starter")})
    plan_runs(read_experiment(config), tmp_path / "new")
    done = tmp_path / "new" / "high" / "seed-2" / "results.json"
    done.touch()
    os.utime(done, (weights.stat().st_mtime - 1,) * 2)
    with pytest.raises(RecipeError, match="is newer than the results"):
        plan_runs(read_experiment(config), tmp_path / "new")


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "adaptation").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_experiments_of_the_recipes_are_ones(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    experiment = read_experiment(path)
    runs = plan_runs(experiment, tmp_path)
    assert len(runs) == 3 * len(experiment.strategies) and len(experiment.strategies) > 1
    assert not any("{" in str(value) for run in runs for key, value in run.settings.items() if key.endswith("name"))
