"""
Trains alternatives to recipes/starter/config.yaml on the same amount of speech, and makes a table of them.

    python benchmarks/alternatives.py LIBRISPEECH_MINI outputs/starter/reading

Each is one process of one thread, two run side by side on two cores. A variant that is done is not trained again; one
that was stopped starts anew.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "outputs" / "alternatives"
SETTINGS = {
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": False,
    "lr_scheduler_type": "cosine",
    "lr_scheduler_kwargs": None,
    "warmup_steps": 100,
    "ema_decay": 0.99,
    "test_split": "clean/validation",
    "report_to": "none",
    "use_cpu": True,
}

# Name -> what differs from the starter's recipe; in objects key by key.
VARIANTS: dict[str, dict] = {
    "the recipe": {},
    "no synthetic speech": {"mixture_weights": [5, 1, 1e-6]},
    "70 % synthetic speech": {"mixture_weights": [0.25, 0.05, 0.7]},
    "no pseudo-labels": {"mixture_weights": [0.6, 1e-6, 0.4]},
    "learning rate 3e-3": {"learning_rate": 3e-3},
    "batches of 30 s, 1,800 steps": {"batch_seconds": 30, "max_steps": 1800, "ema_decay": 0.995},
    "smaller: 3 x 224": {"model_config": {"hidden_size": 224}},
    "60 ms a frame": {"model_config": {"conv_strides": [[2, 3], [2, 2]]}},
    "GRU, 3 x 372": {"model_config": {"rnn_type": "gru", "hidden_size": 372}},
    "deeper: 5 x 240": {"model_config": {"hidden_size": 240, "num_hidden_layers": 5}},
    "linear, 161 bins": {
        "feature_config": {"features": "linear", "feature_size": 161, "n_fft": 320, "win_length": 320},
        "model_config": {"hidden_size": 288},
        "frequency_mask_max_bins": 40,
    },
    "20 ms a frame": {"model_config": {"conv_strides": [[2, 2], [2, 1]]}},
    "no vocal-tract perturbation": {"vocal_tract_perturbation": 0},
    "SpecAugment alone": {
        "vocal_tract_perturbation": 0,
        "speed_perturbation": 0,
        "noise_probability": 0,
        "reverberation_probability": 0,
    },
    "dropout 0.1": {"model_config": {"dropout": 0.1}},
    "constant rate, then decay": {
        "lr_scheduler_type": "warmup_stable_decay",
        "lr_scheduler_kwargs": {"num_decay_steps": 250},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mini", type=Path, metavar="LIBRISPEECH_MINI", help="real speech")
    parser.add_argument("reading", type=Path, metavar="READING", help="made by recipes/synthesize.py")
    parser.add_argument("--steps", type=int, default=900, help="batches of 60 s each (default: %(default)s)")
    parser.add_argument("--num_proc", type=int, default=2, help="trainings side by side (default: %(default)s)")
    args = parser.parse_args()
    settings = yaml.safe_load((ROOT / "recipes" / "starter" / "config.yaml").read_text(encoding="utf-8"))
    settings |= SETTINGS | {
        "dataset_name": [str(args.mini), str(args.mini), str(args.reading)],
        "max_steps": args.steps,
    }
    with ThreadPoolExecutor(args.num_proc) as pool:
        rows = list(pool.map(lambda name: run(name, settings), VARIANTS))
    head = "| variant | parameters | minutes | WER | CER |\n|---|---|---|---|---|\n"
    table = head + "\n".join(rows) + "\n"
    (OUTPUT / "table.md").write_text(table, encoding="utf-8")
    print(table)


def run(name: str, settings: dict) -> str:
    """Trains and scores one variant, if it is not there; its row of the table."""
    folder = OUTPUT / "".join(letter if letter.isalnum() else "-" for letter in name)
    if not (folder / "results.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        changed = {
            key: settings[key] | value if isinstance(value, dict) and settings[key] else value
            for key, value in VARIANTS[name].items()
        }
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(settings | changed | {"output_dir": str(folder)}), encoding="utf-8")
        command = [sys.executable, "recipes/finetune.py", str(config)]
        started = time.perf_counter()
        with (folder / "log.txt").open("w", encoding="utf-8") as log:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=True)
        print(f"{name}: {(time.perf_counter() - started) / 60:.1f} min", flush=True)
    (score,) = json.loads((folder / "results.json").read_text(encoding="utf-8"))["results"]["after training"].values()
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    low, high = score["wer_interval"]
    return (
        f"| {name} | {facts['parameters']} | {facts['training time'].split()[0]} "
        f"| {score['wer']:.1%} ({low:.1%}-{high:.1%}) | {score['cer']:.1%} |"
    )


if __name__ == "__main__":
    main()
