"""Corpora: every kind of corpus becomes the same kind of stream, with its audio still encoded."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow.parquet
from datasets import Audio, Features, IterableDataset, Value

from ..system.network import FAILURES, advice, ask
from .audio.recordings import OUTSIDE
from .manifests import (
    AUDIO_COLUMNS,
    ID_COLUMNS,
    MANIFEST_SUFFIXES,
    SPEAKER_COLUMNS,
    TEXT_COLUMNS,
    find_column,
    find_metadata,
    first_column,
    has_librispeech_tree,
    read_librispeech,
    read_manifest,
    read_metadata,
    read_recordings,
)

FEATURES = Features(
    {
        "audio": Audio(decode=False),
        "text": Value("string"),
        "id": Value("string"),
        "speaker_id": Value("string"),
    }
)
SHUFFLE_SEED = 0
MAX_LOCAL_SHARDS = 64
# The protocols of recordings inside an archive: "zip://a.flac::hf://datasets/owner/name@commit/a.zip".
ARCHIVES = ("zip://", "tar://", "gzip://", "bz2://", "xz://", "zstd://", "lz4://")


@dataclass(frozen=True)
class Corpus:
    """
    One split of one corpus.

    `stream` yields `{"audio": {"bytes", "path"}, "text", "id", "speaker_id"}`. A missing text is None and a missing
    speaker is "". `num_examples` is None if it is unknown before all is read. `revision` is the commit of a dataset on
    the Hub.
    """

    name: str
    stream: IterableDataset
    num_examples: int | None
    dataset: str = ""
    config: str | None = None
    split: str = ""
    revision: str | None = None


class _Source(NamedTuple):
    """
    A stream with its original columns, its number of examples if known, and the commit of a dataset on the Hub.

    `root` is the folder or repository that its recordings must be in; None allows any. `listed` marks our own lists.
    """

    stream: IterableDataset
    num_examples: int | None
    commit: str | None = None
    root: str | None = None
    listed: bool = False


def load_corpus(
    dataset_name: str,
    dataset_config: str | None = None,
    split: str = "train",
    *,
    revision: str | None = None,
    text_column: str | None = "text",
    audio_column: str = "audio",
    kept_columns: Sequence[str] = (),
) -> list[Corpus]:
    """
    Open the splits `a+b+...` of a corpus as streams. Nothing is read or decoded yet.

    Args:
        dataset_name: the first of these that fits: `synthetic`, a manifest (.csv .tsv .json .jsonl), a local folder
            (an audio folder with metadata.csv, the layout of the Hub, or a LibriSpeech tree), the id of a dataset on
            the Hub.
        dataset_config: the configuration of a Hub dataset. For a LibriSpeech tree, `clean` or `other`.
        split: split names joined with `+`. A manifest is one split, whatever its name.
        revision: git revision on the Hub.
        text_column: the column of the transcripts. `sentence`, `transcription` and `transcript` are also found if it is
            the default. None: no transcripts are read, every text is None, and a folder of recordings is a corpus too.
        audio_column: the column of the recordings.
        kept_columns: other columns that the stream keeps, as strings.

    Raises:
        ValueError: the corpus, split or column does not exist, or a list is empty. The message says what was looked
            for.
    """
    names = [name.strip() for name in split.split("+")]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(
            f"split {split!r} is not valid; expected different names joined with +, such as train.100+train.360"
        )
    path = Path(os.path.expanduser(dataset_name))
    corpora = []
    for name in names:
        title = "/".join(part for part in (dataset_name.rstrip("/"), dataset_config, name) if part)
        if dataset_name == "synthetic":
            source = _hub_layout(str(_synthetic_folder()), None, name)
        elif os.path.isfile(path):
            if len(names) > 1:
                raise ValueError(
                    f"split {split!r} was requested of {dataset_name!r}, but a manifest is one split; give one name"
                )
            source = _manifest(path, text_column, audio_column, kept_columns)
        elif os.path.isdir(path):
            source = _folder(path, dataset_config, name, text_column, audio_column, kept_columns)
        elif _means_a_path(dataset_name):
            raise ValueError(
                f"no file or folder {dataset_name!r} (the current folder is {str(Path.cwd())!r}); expected one, or a "
                "dataset on the Hub, which is named owner/name"
            )
        else:
            source = _hub_layout(dataset_name, dataset_config, name, revision=revision)
        stream = _canonical(source, title, text_column, audio_column, kept_columns)
        corpora.append(Corpus(title, stream, source.num_examples, dataset_name, dataset_config, name, source.commit))
    return corpora


def _means_a_path(name: str) -> bool:
    """Return whether a name without a local file or folder means a local one, not a dataset on the Hub."""
    path = Path(name)
    local = path.suffix in MANIFEST_SUFFIXES or name.startswith((".", "/", "~")) or path.parts[0] == name
    return local or os.path.isdir(path.parent)


def _synthetic_folder() -> Path:
    from .synthesis.command_corpus import synthesize_commands

    return synthesize_commands(Path(datasets.config.HF_DATASETS_CACHE) / "deepspeech2-synthetic")


def _manifest(path: Path, text_column: str | None, audio_column: str, kept_columns: Sequence[str]) -> _Source:
    if path.suffix not in MANIFEST_SUFFIXES:
        raise ValueError(
            f"{str(path)!r} is not a manifest; expected a file name that ends in {', '.join(MANIFEST_SUFFIXES)}"
        )
    return _listed(read_manifest(path, text_column, audio_column, kept_columns))


def _folder(
    root: Path, config: str | None, split: str, text_column: str | None, audio_column: str, kept_columns: Sequence[str]
) -> _Source:
    metadata = find_metadata(root, split)
    if metadata:
        rows = read_metadata(metadata, root, split, text_column, audio_column, kept_columns)
        return _listed(rows)._replace(root=str(root.absolute()))
    nested = root / config / split if config else root / split
    shards = sorted(str(path) for path in nested.glob("*.parquet")) if os.path.isdir(nested) else []
    if (root / "README.md").is_file() and _declares_configs(root / "README.md"):
        return _hub_layout(str(root), config, split)
    if shards:
        source = _hub_layout("parquet", None, split, data_files={split: shards})
        return source._replace(root=str(root.absolute()))
    if has_librispeech_tree(root):
        return _listed(read_librispeech(root, config, split))
    if text_column is None and (rows := read_recordings(root, split)):
        return _listed(rows)
    raise ValueError(
        f"the folder {str(root)!r} is not a corpus: looked for {split}/metadata.csv and metadata.csv (columns "
        f"file_name and text), a README.md with `configs:`, {nested.relative_to(root)}/*.parquet, and "
        "LibriSpeech's *.trans.txt"
    )


def _declares_configs(card: Path) -> bool:
    return any(line.startswith("configs:") for line in card.read_text(encoding="utf-8", errors="replace").splitlines())


def _hub_layout(name: str, config: str | None, split: str, **options: Any) -> _Source:
    def open_stream() -> tuple[datasets.DatasetBuilder, IterableDataset]:
        builder = datasets.load_dataset_builder(name, config, **options)
        return builder, builder.as_streaming_dataset(split=split)

    wanted = f"split {split!r}{f' of config {config!r}' if config else ''}"
    try:
        builder, stream = ask(f"{wanted} of {name}", open_stream)
    except FAILURES as error:
        if Path(name).exists():
            raise ValueError(f"cannot open {wanted} of {name!r}: {error}") from error
        raise ValueError(
            f"cannot open {wanted} of the dataset {name!r}: {error} (there is no local file or folder "
            f"of that name either){advice(error)}"
        ) from error
    commit = builder.hash if builder.repo_id else None
    root = f"hf://datasets/{name}@{commit}" if commit else str(Path(name).absolute())
    return _Source(stream, _count_examples(builder, split), commit, root)


def _count_examples(builder: datasets.DatasetBuilder, split: str) -> int | None:
    if builder.info.splits and split in builder.info.splits and builder.info.splits[split].num_examples:
        return builder.info.splits[split].num_examples
    files = [str(file) for file in (builder.config.data_files or {}).get(split, [])]
    if files and all(file.endswith(".parquet") and "://" not in file for file in files):
        return sum(pyarrow.parquet.read_metadata(file).num_rows for file in files)
    return None


def _listed(rows: list[dict[str, str | None]]) -> _Source:
    # Lists are often sorted by speaker or length. Without a shuffle, a window would have one speaker.
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(rows))
    columns = {key: [rows[i][key] for i in order] for key in rows[0]}
    listed = datasets.Dataset.from_dict(columns, features=Features({key: Value("string") for key in columns}))
    stream = listed.to_iterable_dataset(num_shards=min(len(rows), MAX_LOCAL_SHARDS))
    return _Source(stream, len(rows), listed=True)


def _canonical(
    source: _Source, title: str, text_column: str | None, audio_column: str, kept_columns: Sequence[str]
) -> IterableDataset:
    """Return the stream with its columns renamed to those of FEATURES, and `kept_columns`."""
    stream = source.stream
    columns = stream.column_names or list(next(iter(stream)))
    if source.listed:
        text_column, audio_column = text_column and TEXT_COLUMNS[0], AUDIO_COLUMNS[0]
    audio = find_column(columns, audio_column, AUDIO_COLUMNS, title, "audio_column")
    text = None
    if text_column is not None:
        text = find_column(columns, text_column, TEXT_COLUMNS, title, "text_column")
    if own := [column for column in kept_columns if column in FEATURES]:
        raise ValueError(f"{', '.join(own)} is part of every corpus; scores by speaker are always reported")
    if missing := [column for column in kept_columns if column not in columns]:
        raise ValueError(f"{title} has no column {', '.join(missing)}; its columns are {', '.join(columns)}")
    if stream.features and isinstance(stream.features[audio], Audio):
        stream = stream.cast_column(audio, Audio(decode=False))
    rename = partial(
        _canonical_row,
        audio=audio,
        text=text,
        identity=first_column(columns, ID_COLUMNS),
        speaker=first_column(columns, SPEAKER_COLUMNS),
        kept=tuple(kept_columns),
        text_path="text_path" if source.listed and text else None,  # a text_path of other corpora could name any file
        root=source.root,
    )
    features = Features(FEATURES | {column: Value("string") for column in kept_columns})
    return stream.map(rename, remove_columns=columns, features=features)


def _canonical_row(
    row: dict[str, Any],
    *,
    audio: str,
    text: str | None,
    identity: str | None,
    speaker: str | None,
    kept: tuple[str, ...],
    text_path: str | None,
    root: str | None,
) -> dict[str, Any]:
    recording, transcript = row[audio], row[text] if text else None
    if not isinstance(recording, dict):
        recording = {"bytes": None, "path": recording}
    if text_path and row[text_path]:
        transcript = _read_transcript(Path(row[text_path] if root is None else _inside(row[text_path], root)))
    content, path = recording.get("bytes"), recording.get("path")
    name = row[identity] if identity else None
    if name is None:
        # The place in the stream and the shard can change. The recording does not.
        name = path or hashlib.sha1(content or b"").hexdigest()
    if content is None and path is not None and root is not None:
        path = _inside(str(path), root)
    speaker_id = row[speaker] if speaker else None
    return {
        "audio": {"bytes": content, "path": path},
        "text": transcript,
        "id": str(name),
        "speaker_id": "" if speaker_id is None else str(speaker_id),
        **{column: str(row[column]) for column in kept},
    }


def _inside(path: str, root: str) -> str:
    """Return the path of a file in `root` or in an archive there. Other files are marked, and refused when read."""
    *inner, file = path.split("::")
    if "://" not in file and not file.startswith("/"):
        file = f"{root}/{file}"
    archived = all(one.startswith(ARCHIVES) for one in inner)
    below = file.removeprefix(f"{root}/")
    if not archived or below == file or ".." in PurePosixPath(below).parts:
        return OUTSIDE + path
    return "::".join([*inner, file])


def _read_transcript(path: Path) -> str | None:
    """Return the text of a file, or None (a missing text) if the file does not exist or is outside the corpus."""
    return path.read_text(encoding="utf-8-sig", errors="replace").strip() if os.path.isfile(path) else None
