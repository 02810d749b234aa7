"""benchmarks/alternatives.py and trainings.py: every variant is a recipe, and results are those of their settings."""

from pathlib import Path

import alternatives
import pytest
import trainings
import yaml

from deepspeech2.config.parser import parse_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "starter" / "config.yaml"


@pytest.mark.parametrize("name", alternatives.VARIANTS)
def test_a_variant_is_a_recipe(name, tmp_path):
    plan = yaml.safe_load(RECIPE.read_text()) | {"output_dir": str(tmp_path / "run")}
    plan = alternatives.override(plan, alternatives.FIRST_PLAN | {"dataset_name": ["a", "a", "b"]})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(alternatives.override(plan, alternatives.VARIANTS[name])))
    recipe = parse_recipe([], tmp_path / "config.yaml")
    assert recipe.training.max_steps * recipe.data.batch_seconds == 900 * 60
    assert recipe.model.model_config["num_hidden_layers"] == 3


def test_settings_are_overridden_key_by_key():
    plan = {"model_config": {"hidden_size": 8, "dropout": 0.1}, "lr_scheduler_kwargs": None, "seed": 1}
    changed = alternatives.override(plan, {"model_config": {"dropout": 0}, "lr_scheduler_kwargs": {"a": 2}, "seed": 3})
    assert changed == {"model_config": {"hidden_size": 8, "dropout": 0}, "lr_scheduler_kwargs": {"a": 2}, "seed": 3}


def test_results_of_other_settings_are_not_taken(tmp_path):
    settings = {"seed": 1, "max_steps": 5}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings | {"output_dir": str(tmp_path), "use_cpu": True}))
    (tmp_path / "results.json").write_text("{}")
    trainings.train_once(tmp_path, settings)  # nothing runs: there is no dataset_name
    with pytest.raises(SystemExit, match=r"max_steps was 5 and is 6\. Remove the folder"):
        trainings.train_once(tmp_path, settings | {"max_steps": 6})
