"""Measure benchmarks: every case has its own process, and cases take turns, so that a slow minute affects all."""

import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepspeech2.system.markdown import markdown_table

# Deciles of the durations of librispeech_mini clean/train.100 (1,308 utterances, mean 12.6 s).
DECILES_S = (1.9, 6.3, 9.9, 12.2, 13.2, 13.9, 14.5, 14.9, 15.4, 15.8, 17.3)


def draw_durations_s(count: int, seed: int) -> list[float]:
    """Draw durations in seconds from the distribution of LibriSpeech."""
    shares = np.random.default_rng(seed).random(count)
    return np.interp(shares, np.linspace(0, 1, len(DECILES_S)), DECILES_S).tolist()


def peak_memory_mb() -> float:
    """Return the peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_a_process(script: str, arguments: Sequence[str]) -> dict:
    """Run `python SCRIPT ARGUMENTS` on one thread, and return the JSON object on its last line."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, script, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def rounds(script: str, cases: dict[str, Sequence[str]], repeats: int) -> dict[str, list[dict]]:
    """Run every case once in each round. Return the results of each case, one per round."""
    results: dict[str, list[dict]] = {name: [] for name in cases}
    for round_ in range(1, repeats + 1):
        for name, arguments in cases.items():
            print(f"round {round_} of {repeats}: {name}", file=sys.stderr, flush=True)
            results[name].append(in_a_process(script, [*arguments, "--seed", str(round_)]))
    return results


def median(results: Sequence[dict], key: str) -> float:
    return statistics.median(result[key] for result in results)


def ratios(results: Sequence[dict], baseline: Sequence[dict], key: str) -> str:
    """Format the ratio to the baseline over the rounds: median (lowest-highest)."""
    values = sorted(ours[key] / theirs[key] for ours, theirs in zip(results, baseline, strict=True))
    return f"{statistics.median(values):.2f} ({values[0]:.2f}-{values[-1]:.2f})"


def write_table(head: Sequence[str], rows: Sequence[Sequence[object]], path: Path | None = None) -> None:
    """Print a Markdown table, and write it to a file."""
    table = markdown_table(head, rows)
    print(table, end="")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(table, encoding="utf-8")
