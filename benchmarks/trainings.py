"""Trainings of a benchmark, each in a folder of its own and done once."""

import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def train_once(folder: Path, settings: dict) -> None:
    """
    Runs recipes/finetune.py on `settings` in `folder`, on one thread, unless its results are there already.

    Raises SystemExit where they are those of other settings, or older than the weights that they start from.
    """
    settings = settings | {"output_dir": str(folder), "use_cpu": True}
    config, results = folder / "config.yaml", folder / "results.json"
    if results.is_file():
        there = yaml.safe_load(config.read_text(encoding="utf-8"))
        changed = [key for key in sorted((there | settings).keys() - {"credit"}) if there.get(key) != settings.get(key)]
        start = ROOT / settings.get("model_name_or_path", "") / "model.safetensors"
        if start.is_file() and start.stat().st_mtime > results.stat().st_mtime:
            changed.append("the weights of model_name_or_path")
        if changed:
            raise SystemExit(f"{folder} holds the results of another {', '.join(changed)}: remove the folder")
        return
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    started = time.perf_counter()
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        command = [sys.executable, "recipes/finetune.py", str(config)]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log, check=True)
    print(f"{folder.name}: {(time.perf_counter() - started) / 60:.1f} min", flush=True)
