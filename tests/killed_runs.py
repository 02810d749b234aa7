"""A small run to be stopped at any moment."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import kill
import pytest
import yaml

import forked
import tiny

SETTINGS = {
    "model_config": tiny.MODEL | {"dropout": 0.1},
    "feature_config": tiny.FEATURES,
    "characters": " abc",
    "eval_split": "validation",
    "batch_seconds": 3,
    "max_duration_s": 3,
    "window_size": 8,
    "speed_perturbation": 0.1,
    "spec_augment": True,
    "eval_strategy": "no",
    "load_best_model_at_end": False,
    "save_strategy": "steps",
    "save_steps": 5,
    "max_steps": 40,
    "logging_steps": 1,
    "report_to": "none",
    "use_cpu": True,
    "cpu_threads": 1,
    "disable_tqdm": True,
}


def write_run(root: Path, stream: bool = False, **settings) -> Path:
    """A corpus, as a manifest or as Parquet in the Hub's layout, and the config file of a run in `root/run`."""
    sizes = {"train": 24, "validation": 6}
    manifests = {
        name: tiny.write_corpus(root / name, name, count, seed) for seed, (name, count) in enumerate(sizes.items())
    }
    settings = SETTINGS | {"dataset_name": str(manifests["train"]), "output_dir": str(root / "run")} | settings
    settings["eval_dataset_name"] = str(manifests["validation"])
    if "domain_adversarial_weight" in settings:
        settings["unlabelled_dataset_name"] = str(manifests["validation"])
    if stream:
        for split, manifest in manifests.items():
            tiny.write_parquet(manifest, root / "hub" / split)
        settings |= {"dataset_name": str(root / "hub"), "eval_dataset_name": str(root / "hub")}
    path = root / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def wait_for(condition: Callable[[], bool], log: Path, limit_s: float = 120) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < limit_s and "Error" not in log.read_text(), log.read_text()
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def quick_start(monkeypatch) -> None:
    """`launch` of the benchmark forks the launcher and its processes, in the tests of a file that imports this."""
    quick = SimpleNamespace(Popen=forked.Forked, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(kill, "subprocess", quick)
