"""Folders that `Dataset.save_to_disk` and `DatasetDict.save_to_disk` wrote, and what a folder that is none holds."""

import json
import os
from pathlib import Path
from typing import Any

import datasets

from ..audio.recordings import AUDIO_SUFFIXES

STATE, SPLITS = "state.json", "dataset_dict.json"
MAX_SHARDS = 64


def find_saved(root: Path, split: str) -> Path | None:
    """
    Return the folder of a split that `save_to_disk` wrote, or None if the folder is another one.

    Raises:
        ValueError: it has other splits.
    """
    if (root / SPLITS).is_file():
        splits = _json(root / SPLITS).get("splits", [])
        if split not in splits:
            raise ValueError(f"{str(root)!r} has no split {split!r}; its splits are {', '.join(map(str, splits))}")
        return root / split
    if not (root / STATE).is_file():
        return None
    own = _json(root / STATE).get("_split") or "train"
    if split != own:
        raise ValueError(f"{str(root)!r} is the single split {own!r}, written by save_to_disk; it has no {split!r}")
    return root


def open_saved(folder: Path) -> tuple[datasets.IterableDataset, int]:
    """
    Return a split that `save_to_disk` wrote as a stream, and its number of rows. It is Arrow and JSON, without code.

    Raises:
        ValueError: it is damaged, has no rows, or names files outside its folder.
    """
    files = [str(one.get("filename")) for one in _json(folder / STATE).get("_data_files", [])]
    if outside := [name for name in files if os.path.basename(name) != name]:
        raise ValueError(f"{str(folder / STATE)!r} names {outside[0]!r}; expected files of its own folder")
    try:
        saved = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{str(folder)!r} was written by save_to_disk, but cannot be read: {error}") from error
    if not len(saved):
        raise ValueError(f"{str(folder)!r} holds no rows; expected one row for each recording")
    for column, feature in saved.features.items():
        if isinstance(feature, datasets.Audio):
            saved = saved.cast_column(column, datasets.Audio(decode=False))
    stream = saved.with_format(None).to_iterable_dataset(num_shards=min(len(saved), MAX_SHARDS))
    return stream, len(saved)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is no JSON: {error}; write the dataset again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{str(path)!r} holds {type(content).__name__}; expected an object, as save_to_disk writes it")
    return content


def what_is_there(root: Path) -> str:
    """Return the rest of a message on a folder that is no corpus: what in it could be named instead."""
    names = sorted(os.listdir(root))
    saved = [name for name in names if any((root / name / file).is_file() for file in (STATE, SPLITS))]
    lists = [name for name in names if name.lower().endswith((".csv", ".tsv", ".json", ".jsonl"))]
    hints = [f"save_to_disk wrote {str(root / saved[0])!r}: name that folder"] if saved else []
    hints += [f"it holds the lists {', '.join(lists[:5])}: name one of them"] if lists else []
    shards = [*root.glob("*/*.parquet"), *root.glob("*/*/*.parquet")]
    splits = sorted({one.parent.relative_to(root).as_posix() for one in shards})
    hints += [f"it has Parquet files of the splits {', '.join(splits[:10])}"] if splits else []
    audio = [name for name in names if name.lower().endswith(AUDIO_SUFFIXES)]
    if audio:
        hints.append(
            f"it has {len(audio):,} recordings without transcripts, such as {audio[0]!r}: write metadata.csv, or label "
            "them with recipes/pseudo_label.py"
        )
    hints += [] if names else ["it is empty"]
    return "".join(f". {hint[0].upper()}{hint[1:]}" for hint in hints)
