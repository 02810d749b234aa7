"""Speech and a model so small that training them takes a second: every letter is a tone."""

import csv
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from deepspeech2.config.arguments import (
    AugmentationArguments,
    DataArguments,
    ModelArguments,
    Recipe,
    RecipeTrainingArguments,
)
from deepspeech2.config.method_arguments import ObjectiveArguments
from deepspeech2.data.splits import Speech, load_eval_splits, load_train_corpora, load_unlabelled
from deepspeech2.data.streams import SpeechStream
from deepspeech2.training.plan import build_eval_stream, build_train_stream
from deepspeech2.training.start import Run, build_model

# Arguments of synthesize_commands, for some 14 s of speech.
COMMANDS: dict[str, Any] = {
    "minutes_train": 0.15,
    "minutes_validation": 0.03,
    "minutes_test": 0.06,
    "num_train_speakers": 3,
    "num_validation_speakers": 1,
    "num_test_speakers": 2,
}

RATE = 8000
LETTER_S = 0.12
TONES_HZ = {"a": 400, "b": 900, "c": 1800, " ": 0}
MODEL = {
    "conv_channels": [4, 4],
    "conv_kernel_sizes": [[5, 5], [5, 5]],
    "conv_strides": [[2, 2], [2, 1]],
    "conv_paddings": [[2, 2], [2, 2]],
    "hidden_size": 16,
    "num_hidden_layers": 2,
}
FEATURES = {
    "features": "mel",
    "feature_size": 20,
    "sampling_rate": RATE,
    "n_fft": 256,
    "win_length": 200,
    "hop_length": 80,
}
MODEL_ARGUMENTS = ModelArguments(model_config=MODEL, feature_config=FEATURES, characters=" abc")


def tones(text: str, rng: np.random.Generator) -> np.ndarray:
    """(samples,): each letter a tone of 0.12 s over a little noise."""
    time_s = np.arange(round(LETTER_S * RATE)) / RATE
    letters = [np.sin(2 * np.pi * TONES_HZ[letter] * time_s) for letter in text]
    return 0.3 * np.concatenate(letters) + 0.01 * rng.standard_normal(len(text) * time_s.size)


def write_corpus(folder: Path, name: str, count: int, seed: int = 0) -> Path:
    """A manifest of `count` recordings of 3 to 7 letters by 3 speakers."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    lines = ["audio,text,id,speaker_id"]
    for index in range(count):
        letters = rng.choice(["a", "b", "c"], int(rng.integers(3, 8)))
        text = " ".join(["".join(letters[:2]), "".join(letters[2:])])
        soundfile.write(folder / f"{name}{index}.wav", tones(text, rng), RATE)
        lines.append(f"{name}{index}.wav,{text},{name}{index},s{index % 3}")
    manifest = folder / f"{name}.csv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return manifest


def new_model(**sizes):
    """A model of random weights and its processor; `sizes` over those of MODEL."""
    arguments = ModelArguments(model_config=MODEL | sizes, feature_config=FEATURES, characters=" abc")
    return build_model(arguments, [])


def training_arguments(folder: Path, **options) -> RecipeTrainingArguments:
    """Six steps of batches of three; nothing is scored or saved unless asked for."""
    defaults = {
        "output_dir": str(folder),
        "use_cpu": True,
        "disable_tqdm": True,
        "report_to": "none",
        "per_device_train_batch_size": 3,
        "max_steps": 6,
        "logging_steps": 1,
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": False,
        "warmup_steps": 0,
    }
    return RecipeTrainingArguments(**(defaults | options))


def data_arguments(manifest: Path, validation: Path | None = None, **options) -> DataArguments:
    defaults = {"dataset_name": [str(manifest)], "eval_dataset_name": str(validation or manifest)}
    return DataArguments(**(defaults | {"batch_seconds": 0.0, "window_size": 8} | options))


def new_run(data: DataArguments, training: RecipeTrainingArguments, built=None, **groups) -> Run:
    """
    A run of a model and processor, new ones unless `built` are given; what is scored is not opened.

    Args:
        groups: others of the recipe.
    """
    model, processor = built or new_model()
    speech = Speech(load_train_corpora(data), unlabelled=load_unlabelled(data))
    return Run(Recipe(data=data, training=training, **groups), speech, model, processor)


def streams(manifest: Path, model, processor, training: RecipeTrainingArguments, objective=None, **options):
    """The training stream, augmented, and the evaluation stream of the same recordings."""
    data = data_arguments(manifest, **options)
    augmentation = AugmentationArguments(speed_perturbation=0.1, spec_augment=True)
    run = new_run(
        data, training, (model, processor), augmentation=augmentation, objective=objective or ObjectiveArguments()
    )
    return build_train_stream(run), build_eval_stream(run.speech.trained_on, processor, data, training)


def unlabelled_stream(manifest: Path, model, processor, training: RecipeTrainingArguments) -> SpeechStream:
    """The recordings of a manifest as speech without transcripts."""
    data = data_arguments(manifest, unlabelled_dataset_name=str(manifest))
    return build_train_stream(new_run(data, training, (model, processor)), transcribed=False)


def batches(manifest: Path, model, processor, count: int, size: int, folder: Path) -> list[dict]:
    """The first `count` training batches of `size` clips."""
    training = training_arguments(folder, per_device_train_batch_size=size)
    return list(islice(streams(manifest, model, processor, training)[0], count))


def write_parquet(manifest: Path, folder: Path) -> None:
    """The recordings of a manifest as one split in the Hub's layout."""
    folder.mkdir(parents=True)
    with manifest.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["audio"] = {"bytes": (manifest.parent / row["audio"]).read_bytes(), "path": row["audio"]}
    pq.write_table(pa.Table.from_pylist(rows), folder / "0000.parquet")


def write_hub(root: Path) -> Path:
    """hub/{clean,other}/{train,dev}: 12, 4, 6 and 2 recordings in the Hub's layout; and the manifests they are from."""
    for seed, (name, count) in enumerate({"clean-train": 12, "clean-dev": 4, "other-train": 6, "other-dev": 2}.items()):
        write_parquet(write_corpus(root / name, name, count, seed), root / "hub" / name.replace("-", "/"))
    return root


def hub(root: Path, **given) -> DataArguments:
    """Both configurations of `write_hub`; batches of three, windows of six."""
    defaults = {"dataset_name": [str(root / "hub")] * 2, "dataset_config": ["clean", "other"]}
    return DataArguments(**(defaults | {"batch_seconds": 0.0, "window_size": 6} | given))


def one_split(data: DataArguments, split: str) -> list:
    data.eval_split = split
    return load_eval_splits(data)[0]


def names(name: str, count: int) -> list[str]:
    return sorted(f"{name}{index}" for index in range(count))
