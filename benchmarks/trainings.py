"""Trainings of a benchmark, each in a folder of its own and done once."""

import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

from deepspeech2.evaluation.experiments import CONFIG, RESULTS, changed_since

ROOT = Path(__file__).parents[1]


def train_once(folder: Path, settings: dict) -> None:
    """
    Runs recipes/finetune.py on `settings` in `folder`, on one thread, unless its results are there already.

    Raises SystemExit where they are those of other settings, or older than the weights that they start from.
    """
    settings = settings | {"output_dir": str(folder), "use_cpu": True}
    if changed := changed_since(folder, settings):
        raise SystemExit(f"{folder} holds a run with other settings: {'; '.join(changed)}. Remove the folder")
    config = folder / CONFIG
    if (folder / RESULTS).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    started = time.perf_counter()
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        command = [sys.executable, "recipes/finetune.py", str(config)]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log, check=True)
    print(f"{folder.name}: {(time.perf_counter() - started) / 60:.1f} min", flush=True)
