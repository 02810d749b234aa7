"""recipes/finetune.py as its user runs it, on a tiny corpus."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

import forked
import tiny
from deepspeech2.config.arguments import Recipe
from deepspeech2.config.method_arguments import AdaptationArguments
from deepspeech2.data.splits import load_speech
from deepspeech2.training.plan import plan_training
from deepspeech2.training.start import Run

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "finetune.py"
SPLITS = [("train", 12, 0), ("test", 5, 1)]  # name, recordings, seed
SIZES = {"model_config": tiny.MODEL, "feature_config": tiny.FEATURES, "characters": " abc"}
CONFIG = {
    "train_split": "train",
    "eval_split": "clean/validation",
    "test_split": ["other/test", "clean/test"],
    "batch_seconds": 3,
    "max_duration_s": 3,
    "window_size": 8,
    "speed_perturbation": 0.1,
    "max_steps": 4,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_strategy": "steps",
    "save_steps": 2,
    "logging_steps": 1,
    "use_cpu": True,
    "cpu_threads": 1,
    "disable_tqdm": True,
    "seed": 3,
}


def finetune(*argv: str) -> None:
    """What `python recipes/finetune.py ARGV` does, in this process."""
    runpy.run_path(str(RECIPE))["main"](list(argv))


def exit_message(monkeypatch, *argv: str) -> str:
    monkeypatch.setattr(sys, "argv", [str(RECIPE), *argv])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(RECIPE), run_name="__main__")
    assert isinstance(stopped.value.code, str)  # printed to stderr, exit status 1
    return stopped.value.code


def write_inputs(root: Path) -> None:
    """
    12 recordings to train on, 5 to score on (parquet in the Hub's layout, two configurations), and two config files:
    config.yaml for random weights, tune.yaml for a checkpoint.
    """
    manifests = {name: tiny.write_corpus(root / name, name, count, seed) for name, count, seed in SPLITS}
    for split, config in (("validation", "clean"), ("test", "clean"), ("test", "other")):
        tiny.write_parquet(manifests["test"], root / "hub" / config / split)
    names = {"dataset_name": str(manifests["train"]), "eval_dataset_name": str(root / "hub")}
    (root / "tune.yaml").write_text(yaml.safe_dump(CONFIG | names))
    (root / "config.yaml").write_text(yaml.safe_dump(CONFIG | names | SIZES))


def results(run: Path) -> dict:
    return json.loads((run / "results.json").read_text())


def arguments(folder: Path, output_dir: Path, adaptation: AdaptationArguments | None = None, **options):
    """What `train` takes."""
    data = tiny.data_arguments(folder / "train" / "train.csv", window_size=12)
    training = tiny.training_arguments(output_dir, **options)
    torch.manual_seed(1)
    recipe = Recipe(data=data, training=training, adaptation=adaptation or AdaptationArguments())
    run = Run(recipe, load_speech(data), *tiny.new_model())
    return run, plan_training(run)


def launch(*argv: str, fork: bool = True) -> subprocess.CompletedProcess:
    """What `accelerate launch` of the recipe on two processes does; forked or, as its user has it, executed."""
    config = ROOT / "accelerate_configs" / "cpu_ddp.yaml"
    accelerate = str(Path(sys.executable).with_name("accelerate"))
    command = [accelerate, "launch", "--config_file", str(config), str(RECIPE), *argv]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    if fork:
        return forked.run(command, environment)
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
