"""
Kill a run by SIGKILL many times, restart it with the same command, and compare it with an uninterrupted run.

    python benchmarks/kill.py recipes/librispeech/mini.yaml --dataset_name FOLDER --max_steps 320 --save_steps 4
    python benchmarks/kill.py recipes/librispeech/mini.yaml --processes 2 --use_cpu true --dataset_name FOLDER ...

The options are those of recipes/finetune.py. Every second kill comes at a random moment after the start, within 1.5
times the time to the first checkpoint. The others come within 0.3 s of the first byte of a checkpoint. The launcher and
all its processes are killed at once, as in a power failure. The result must equal the uninterrupted run bit by bit:
every loss in the log and every weight.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil
from measuring import write_table
from safetensors.torch import load_file
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "outputs" / "benchmarks" / "kill"
SAVING = "while a checkpoint was written"
EARLY = "before the first checkpoint after the restart"
LATER = "between two checkpoints"
OWN = {"whole", "killed", "log.txt", "kill.md"}  # what is written into the folder, log.txt first
INTO_SAVING_S = 0.3
LATEST = 1.5  # times the time from the start to the first checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a config file of recipes/finetune.py, followed by its other options")
    parser.add_argument("--kills", type=int, default=20, help="number of kills (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="processes of each run (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the kill times (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=OUTPUT, help="folder for runs and table (default: %(default)s)")
    args, options = parser.parse_known_args()
    clear(args.folder)
    whole, killed, log = (args.folder / name for name in ("whole", "killed", "log.txt"))
    command = [args.config, *options, "--save_strategy", "steps"]

    started = time.monotonic()
    alone = launch(command, whole, log, args.processes)
    while not checkpoints(whole) and alone.poll() is None:
        time.sleep(0.01)
    latest_s = LATEST * (time.monotonic() - started)
    if alone.wait() != 0:
        sys.exit(f"the uninterrupted run failed; see {log}")
    rng = random.Random(args.seed)
    moments: Counter[str] = Counter()
    for number in tqdm(range(args.kills), desc="kills"):
        running = launch(command, killed, log, args.processes)
        before = checkpoints(killed)
        if number % 2:
            reached = wait_for_second_checkpoint(running, killed, before)
            time.sleep(rng.random() * INTO_SAVING_S)
        else:
            reached = wait(running, rng.uniform(0, latest_s))
        if not reached:
            sys.exit(f"the run ended before kill {number + 1}; use more --max_steps or fewer --kills, and see {log}")
        kill(running)
        unfinished = any((killed / "unfinished").glob("*"))
        moments[SAVING if unfinished else EARLY if checkpoints(killed) == before else LATER] += 1
    if launch(command, killed, log, args.processes).wait() != 0:
        sys.exit(f"the run could not resume after the kills; see the end of {log}")

    trained_again = log.read_text(encoding="utf-8").count("resuming from")
    rows: list[list[object]] = [[f"killed {moment}", count] for moment, count in sorted(moments.items())]
    rows += [
        ["resumed from a checkpoint", trained_again],
        ["logged losses that differ from the uninterrupted run", different_losses(killed, whole)],
        ["tensors of the final weights that differ from the uninterrupted run", different_weights(killed, whole)],
    ]
    write_table(["event", "count"], rows, args.folder / "kill.md")
    if rows[-1][1] != 0 or rows[-2][1] != 0:
        sys.exit(1)


def clear(folder: Path) -> None:
    """
    Make a folder, and remove what an earlier run of this benchmark wrote into it.

    Raises:
        SystemExit: something else is in it.
    """
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if found and ("log.txt" not in found or not found <= OWN):
        sys.exit(
            f"--folder {folder} has files that this benchmark did not write ({', '.join(sorted(found)[:5])}); expected "
            "a new or empty folder, or that of an earlier run of it: name another --folder"
        )
    for name in found:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    folder.mkdir(parents=True, exist_ok=True)


def launch(
    command: Sequence[str], output_dir: Path, log: Path, processes: int = 1, machine: Sequence[str] = ()
) -> subprocess.Popen:
    """Start the recipe with `accelerate launch` on the CPU. `machine` holds additional options of the launcher."""
    accelerate = Path(sys.executable).with_name("accelerate")
    config = ROOT / "accelerate_configs" / ("cpu_ddp.yaml" if processes > 1 else "cpu.yaml")
    options = ["--config_file", str(config), "--num_processes", str(processes), *machine]
    recipe = [str(ROOT / "recipes" / "finetune.py"), *command, "--output_dir", str(output_dir)]
    with log.open("a", encoding="utf-8") as file:
        return subprocess.Popen(
            [str(accelerate), "launch", *options, *recipe],
            stdout=file,
            stderr=file,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"},
        )


def kill(process: subprocess.Popen) -> None:
    """Kill a process and all its children, as in a power failure. The launcher's processes have separate groups."""
    doomed = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in doomed:
        one.suspend()
    for one in doomed:
        one.kill()
    process.wait()


def wait(process: subprocess.Popen, seconds: float) -> bool:
    """Return whether the process still runs after the time."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def wait_for_second_checkpoint(process: subprocess.Popen, run: Path, before: set[str]) -> bool:
    """Wait until a new checkpoint is complete, so that the run makes progress, and the next one is being written."""
    while checkpoints(run) <= before or not any((run / "unfinished").glob("*")):
        if process.poll() is not None:
            return False
        time.sleep(0.001)
    return True


def checkpoints(run: Path) -> set[str]:
    return {path.name for path in run.glob("checkpoint-*")}


def losses(run: Path) -> list[float]:
    lines = json.loads((run / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return [line["loss"] for line in lines if "loss" in line]


def different_losses(run: Path, other: Path) -> int:
    own, expected = losses(run), losses(other)
    return sum(a != b for a, b in zip(own, expected, strict=False)) + abs(len(own) - len(expected))


def different_weights(run: Path, other: Path) -> int:
    own, expected = (load_file(folder / "model.safetensors") for folder in (run, other))
    return sum(not tensor.equal(own[name]) for name, tensor in expected.items()) + len(own.keys() ^ expected.keys())


if __name__ == "__main__":
    main()
