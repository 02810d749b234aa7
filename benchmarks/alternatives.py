"""
Trains alternatives to the starter on the same amount of speech, and makes a table of them.

    python benchmarks/alternatives.py LIBRISPEECH_MINI outputs/starter/reading

They start from the first plan of recipes/starter/config.yaml, before its fourth corpus and its fourth layer, on 900
batches of 60 s. Each is one process of one thread, two run side by side on two cores. A variant that is done is not
trained again; one that was stopped starts anew.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml
from trainings import ROOT, train_once

OUTPUT = ROOT / "outputs" / "alternatives"
FIRST_PLAN = {
    "model_config": {"hidden_size": 320, "num_hidden_layers": 3, "dropout": 0.25},
    "dataset_config": ["clean", "clean", "-"],
    "train_split": ["train.100", "unlabelled", "train"],
    "transcripts": ["-", "recipes/starter/pseudo_labels.csv", "-"],
    "mixture_weights": [0.5, 0.1, 0.4],
    "batch_seconds": 60,
    "num_time_masks": 4,
    "time_mask_max_ratio": 0.1,
    "time_mask_max_frames": 40,
    "learning_rate": 1.5e-3,
    "eval_strategy": "no",
    "save_strategy": "no",
    "load_best_model_at_end": False,
    "lr_scheduler_type": "cosine",
    "lr_scheduler_kwargs": None,
    "warmup_steps": 100,
    "max_steps": 900,
    "ema_decay": 0.99,
    "test_split": "clean/validation",
    "report_to": "none",
}

# Name -> what differs from the first plan.
VARIANTS: dict[str, dict] = {
    "the first plan": {},
    "no synthetic speech": {"mixture_weights": [5, 1, 1e-6]},
    "70 % synthetic speech": {"mixture_weights": [0.25, 0.05, 0.7]},
    "no pseudo-labels": {"mixture_weights": [0.6, 1e-6, 0.4]},
    "learning rate 3e-3": {"learning_rate": 3e-3},
    "batches of 30 s, 1,800 steps": {"batch_seconds": 30, "max_steps": 1800, "ema_decay": 0.995},
    "smaller: 3 x 224": {"model_config": {"hidden_size": 224}},
    "60 ms a frame": {"model_config": {"conv_strides": [[2, 3], [2, 2]]}},
    "GRU, 3 x 372": {"model_config": {"rnn_type": "gru", "hidden_size": 372}},
    "linear, 161 bins": {
        "feature_config": {"features": "linear", "feature_size": 161, "n_fft": 320, "win_length": 320},
        "model_config": {"hidden_size": 288},
        "frequency_mask_max_bins": 40,
    },
    "SpecAugment alone": {
        "vocal_tract_perturbation": 0,
        "speed_perturbation": 0,
        "noise_probability": 0,
        "reverberation_probability": 0,
    },
    "constant rate, then decay": {
        "lr_scheduler_type": "warmup_stable_decay",
        "lr_scheduler_kwargs": {"num_decay_steps": 250},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mini", type=Path, metavar="LIBRISPEECH_MINI", help="real speech")
    parser.add_argument("reading", type=Path, metavar="READING", help="made by recipes/synthesize.py")
    parser.add_argument("--num_proc", type=int, default=2, help="trainings side by side (default: %(default)s)")
    args = parser.parse_args()
    settings = yaml.safe_load((ROOT / "recipes" / "starter" / "config.yaml").read_text(encoding="utf-8"))
    settings = override(settings, FIRST_PLAN | {"dataset_name": [str(args.mini), str(args.mini), str(args.reading)]})
    with ThreadPoolExecutor(args.num_proc) as pool:
        rows = list(pool.map(lambda name: run(name, settings), VARIANTS))
    head = "| variant | parameters | minutes | WER | CER |\n|---|---|---|---|---|\n"
    table = head + "\n".join(rows) + "\n"
    (OUTPUT / "table.md").write_text(table, encoding="utf-8")
    print(table)


def override(settings: dict, changes: dict) -> dict:
    """`settings` with `changes`, in objects key by key."""
    return settings | {
        key: settings[key] | value if isinstance(value, dict) and settings.get(key) else value
        for key, value in changes.items()
    }


def run(name: str, settings: dict) -> str:
    """Trains and scores one variant, if it is not there; its row of the table."""
    folder = OUTPUT / "".join(letter if letter.isalnum() else "-" for letter in name)
    train_once(folder, override(settings, VARIANTS[name]))
    (score,) = json.loads((folder / "results.json").read_text(encoding="utf-8"))["results"]["after training"].values()
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    low, high = score["wer_interval"]
    return (
        f"| {name} | {facts['parameters']} | {facts['training time'].split()[0]} "
        f"| {score['wer']:.1%} ({low:.1%}-{high:.1%}) | {score['cer']:.1%} |"
    )


if __name__ == "__main__":
    main()
