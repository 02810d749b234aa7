"""
Measure how training scales with processes: audio-seconds per second of one process and of two, with one core each.

    python benchmarks/scaling.py LIBRISPEECH_MINI
    python benchmarks/scaling.py LIBRISPEECH_MINI --repeats 2 --max_steps 30 --no_beside --also ddp_bucket_cap_mb=4

The training is recipes/librispeech/mini.yaml with one thread per process, which also decodes the audio. The global
batches are the same: two processes take one each, and one process accumulates two. Two independent trainings side by
side show how much the machine itself allows, because they share its cache and memory. Each --also is one more case of
two processes, with settings of the recipe. The cases take turns over several rounds. The first log of each run is
warm-up and does not count. No other program should use the cores, because at each step two processes wait for the
slower one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measuring import write_table

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "outputs" / "benchmarks" / "scaling.md"
LOGGING_STEPS = 10
COMMON = {
    "num_readers": 2,
    "logging_steps": LOGGING_STEPS,
    "cpu_threads": 1,
    "dataloader_num_workers": 0,
    "eval_strategy": "no",
    "save_strategy": "steps",
    "load_best_model_at_end": "false",
    "test_split": "clean/validation",
}
CASES = {
    "1 process": ["cpu.yaml", "--gradient_accumulation_steps", "2"],
    "2 processes": ["cpu_ddp.yaml", "--use_cpu", "true"],
}
BESIDE = "2 trainings side by side"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="LIBRISPEECH_MINI", help="a folder with real speech")
    parser.add_argument("--repeats", type=int, default=3, help="number of rounds (default: %(default)s)")
    parser.add_argument("--max_steps", type=int, default=40, help="steps of each run (default: %(default)s)")
    parser.add_argument(
        "--also", action="append", default=[], metavar="NAME=VALUE,...", help="two processes with other settings"
    )
    parser.add_argument("--no_beside", action="store_true", help=f"leave out: {BESIDE}")
    args = parser.parse_args()
    for part in ",".join(args.also).split(",") if args.also else ():
        if "=" not in part:
            parser.error(f"--also has {part!r}; expected NAME=VALUE, with a comma between two")
    cases = CASES | {f"2 processes, {settings}": with_settings(settings) for settings in args.also}
    speeds: dict[str, list[float]] = {case: [] for case in [*cases, *([] if args.no_beside else [BESIDE])]}
    for round_ in range(1, args.repeats + 1):
        for case, found in speeds.items():
            print(f"round {round_} of {args.repeats}: {case}", file=sys.stderr, flush=True)
            if case == BESIDE:
                found.append(train_beside(args.folder, args.max_steps))
            else:
                found.append(train(args.folder, cases[case], args.max_steps))
    one = speeds["1 process"]
    rows = []
    for case, values in speeds.items():
        ratios = sorted(value / alone for value, alone in zip(values, one, strict=True))
        times = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        rows.append([case, f"{statistics.median(values):.0f}", times])
    write_table(["system", "audio-s per s", "times one process"], rows, OUTPUT)


def with_settings(settings: str) -> list[str]:
    """Return the case of two processes with settings such as "ddp_bucket_cap_mb=4,ddp_static_graph=true"."""
    pairs = (one.partition("=") for one in settings.split(","))
    return [*CASES["2 processes"], *(word for name, _, value in pairs for word in (f"--{name}", value))]


def train_beside(folder: str, max_steps: int) -> float:
    """Return the total audio-seconds per second of two trainings with one process each."""
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(lambda case: train(folder, case, max_steps), [CASES["1 process"]] * 2))


def train(folder: str, case: list[str], max_steps: int) -> float:
    """Return the audio-seconds per second of a short training: the median of its logs without the first."""
    with tempfile.TemporaryDirectory() as output_dir:
        subprocess.run(
            [str(Path(sys.executable).with_name("accelerate")), *make_command(folder, case, max_steps, output_dir)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        state = Path(output_dir, f"checkpoint-{max_steps}", "trainer_state.json")
        return median_speed(json.loads(state.read_text(encoding="utf-8"))["log_history"])


def make_command(folder: str, case: list[str], max_steps: int, output_dir: str) -> list[str]:
    """Return the arguments of `accelerate`."""
    config, *options = case
    settings = COMMON | {"dataset_name": folder, "max_steps": max_steps, "save_steps": max_steps}
    settings["output_dir"] = output_dir
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    launcher = ["launch", "--config_file", str(ROOT / "accelerate_configs" / config)]
    return [*launcher, "recipes/finetune.py", "recipes/librispeech/mini.yaml", *words, *options]


def median_speed(log_history: list[dict]) -> float:
    return statistics.median(entry["audio_s_per_s"] for entry in log_history[1:] if "audio_s_per_s" in entry)


if __name__ == "__main__":
    main()
