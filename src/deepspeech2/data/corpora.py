"""Corpora: every kind of corpus becomes the same kind of stream, with its audio still encoded."""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
from datasets import Audio, Features, IterableDataset, Value

from ..system.files import printable
from ..system.network import FAILURES, advice, ask, reading
from .audio.recordings import is_remote
from .lists.cells import label
from .lists.columns import AUDIO_COLUMNS, ID_COLUMNS, TEXT_COLUMNS, find_column, first_column, shown_columns
from .lists.folders import KALDI, KEPT, ListRow, has_librispeech_tree, read_librispeech, read_recordings
from .lists.rows import FEATURES, Fields, fields_of
from .lists.saved import find_saved, open_saved, what_is_there
from .manifests import MANIFEST_SUFFIXES, find_list, find_metadata, read_manifest, read_metadata

SHUFFLE_SEED = 0
MAX_LOCAL_SHARDS = 64
MANY = 5000  # rows; fewer are read whole to know their ids
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz")
LONE_SURROGATES = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # of JSON; no name of a file has them
FOLDER_BUILDERS = ("parquet", "arrow", "audiofolder")  # of `datasets`, which execute and unpickle nothing

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Corpus:
    """
    One split of one corpus.

    `stream` yields `{"audio": {"bytes", "path", "start_s", "end_s"}, "text", "id", "speaker_id", "fault"}`. A missing
    text is None and a missing speaker is "". `fault` is None, or why the row cannot be used. `num_examples` is None if
    it is unknown before all is read. `revision` is the commit of a dataset on the Hub. `ids` are those of all
    utterances, if they were asked for and can be known without reading audio. `remote` marks speech that comes from a
    server: each pass over it costs requests.
    """

    name: str
    stream: IterableDataset
    num_examples: int | None
    dataset: str = ""
    config: str | None = None
    split: str = ""
    revision: str | None = None
    ids: Sequence[str] | None = field(default=None, repr=False)
    remote: bool = False


class _Source(NamedTuple):
    """
    A stream with its original columns, its number of examples if known, and the commit of a dataset on the Hub.

    `roots` are the folders or the repository that its recordings must be in; None allows any. `listed` marks our own
    lists. `files` are its local Parquet files. `remote`: see `Corpus`.
    """

    stream: IterableDataset
    num_examples: int | None
    commit: str | None = None
    roots: tuple[str, ...] | None = None
    listed: bool = False
    files: Sequence[str] = ()
    remote: bool = False


class _Wanted(NamedTuple):
    """What is asked of a corpus: see `load_corpus`."""

    text_column: str | None
    audio_column: str
    kept_columns: Sequence[str]
    audio_root: str


def load_corpus(
    dataset_name: str,
    dataset_config: str | None = None,
    split: str = "train",
    *,
    revision: str | None = None,
    text_column: str | None = "text",
    audio_column: str = "audio",
    kept_columns: Sequence[str] = (),
    audio_root: str = "",
    list_ids: bool = False,
) -> list[Corpus]:
    """
    Open the splits `a+b+...` of a corpus as streams. Nothing is read or decoded yet.

    Args:
        dataset_name: the first of these that fits: `synthetic`, a manifest (.csv .tsv .json .jsonl, wav.scp), a local
            folder (an audio folder with metadata.csv, the layout of the Hub, what `save_to_disk` wrote, a LibriSpeech
            tree, Common Voice or another folder with a list for each split, a data folder of Kaldi, or what `datasets`
            reads as Parquet or an audio folder), the id of a dataset on the Hub.
        dataset_config: the configuration of a Hub dataset. For a LibriSpeech tree, `clean` or `other`.
        split: split names joined with `+`. A manifest is one split, whatever its name.
        revision: git revision on the Hub.
        text_column: the column of the transcripts. `sentence`, `transcription`, `transcript` and others are also found
            if it is the default. None: no transcripts are read, every text is None, and a folder of recordings is a
            corpus too.
        audio_column: the column of the recordings.
        kept_columns: other columns that the stream keeps, as strings.
        audio_root: the folder of the recordings of a list. Without it, relative paths start at the list.
        list_ids: whether to read the ids of local corpora.

    Raises:
        ValueError: the corpus, split or column does not exist, a list is empty, or none of its recordings exists. The
            message says what was looked for.
    """
    names = [name.strip() for name in split.split("+")]
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(
            f"split {split!r} is not valid; expected different names joined with +, such as train.100+train.360"
        )
    if audio_root and not os.path.isdir(os.path.expanduser(audio_root)):
        raise ValueError(f"audio_root {audio_root!r} is not a folder (the current folder is {str(Path.cwd())!r})")
    wanted = _Wanted(text_column, audio_column, kept_columns, audio_root)
    path = Path(os.path.expanduser(dataset_name))
    corpora = []
    for name in names:
        title = printable("/".join(part for part in (dataset_name.rstrip("/"), dataset_config, name) if part))
        if dataset_name == "synthetic":
            source = _hub_layout(str(_synthetic_folder()), None, name)
        elif os.path.isfile(path):
            if len(names) > 1:
                raise ValueError(
                    f"split {split!r} was requested of {dataset_name!r}, but a manifest is one split; give one name"
                )
            source = _manifest(path, wanted)
        elif os.path.isdir(path):
            source = _folder(path, dataset_config, name, wanted)
        elif _means_a_path(dataset_name):
            raise ValueError(
                f"no file or folder {dataset_name!r} (the current folder is {str(Path.cwd())!r}); expected one, or a "
                "dataset on the Hub, which is named owner/name"
            )
        else:
            source = _hub_layout(dataset_name, dataset_config, name, revision=revision)
        with reading(title):
            stream = ask(f"the first row of {title}", partial(_canonical, source, title, wanted))
            ids = _ids(source, stream) if list_ids else None
        place = (dataset_name, dataset_config, name, source.commit)
        corpora.append(Corpus(title, stream, source.num_examples, *place, ids, source.remote))
    return corpora


def _means_a_path(name: str) -> bool:
    """Return whether a name without a local file or folder means a local one, not a dataset on the Hub."""
    path = Path(name)
    local = path.suffix.lower() in MANIFEST_SUFFIXES or name.startswith((".", "/", "~")) or path.parts[0] == name
    return local or os.path.isdir(path.parent)


def _synthetic_folder() -> Path:
    from .synthesis.command_corpus import synthesize_commands

    return synthesize_commands(Path(datasets.config.HF_DATASETS_CACHE) / "deepspeech2-synthetic")


def _manifest(path: Path, wanted: _Wanted) -> _Source:
    if path.suffix.lower() not in MANIFEST_SUFFIXES and path.name != KALDI:
        packed = ": unpack it first" if path.suffix.lower() in PACKED else ""
        raise ValueError(
            f"{str(path)!r} is not a manifest{packed}; expected a file name that ends in {', '.join(MANIFEST_SUFFIXES)}"
        )
    return _listed(_rows(path, wanted))


def _rows(path: Path, wanted: _Wanted) -> list[ListRow]:
    return read_manifest(path, *wanted[:3], audio_root=wanted.audio_root)


def _folder(root: Path, config: str | None, split: str, wanted: _Wanted) -> _Source:
    # What a list of a folder names must be in the folder, or in the one that the user names.
    here = str(root.absolute())
    own = (here, os.path.abspath(os.path.expanduser(wanted.audio_root))) if wanted.audio_root else (here,)
    if metadata := find_metadata(root, split):
        rows = read_metadata(metadata, root, split, *wanted[:3], audio_root=wanted.audio_root)
        return _listed(rows)._replace(roots=own)
    if saved := find_saved(root, split):
        return _Source(*open_saved(saved), roots=(here,))
    nested = root / config / split if config else root / split
    shards = sorted(str(one) for one in nested.glob("*.[pP][aA][rR][qQ][uU][eE][tT]")) if os.path.isdir(nested) else []
    if (root / "README.md").is_file() and _declares_configs(root / "README.md"):
        return _hub_layout(str(root), config, split)
    if shards:
        source = _hub_layout("parquet", None, split, data_files={split: shards})
        return source._replace(roots=(here,))
    if has_librispeech_tree(root):
        return _listed(read_librispeech(root, config, split))
    if listed := find_list(root, split):
        return _listed(_rows(listed, wanted))._replace(roots=own)
    if wanted.text_column is None and (rows := read_recordings(root, split)):
        return _listed(rows)
    if found := _as_datasets_reads(root, config, split):
        return found
    raise ValueError(
        f"the folder {str(root)!r} is not a corpus: looked for {split}/metadata.csv and metadata.csv (columns "
        f"file_name and transcription), {split}.csv or .tsv, a README.md with `configs:`, "
        f"{nested.relative_to(root)}/*.parquet, LibriSpeech's *.trans.txt, and Kaldi's wav.scp{what_is_there(root)}"
    )


def _declares_configs(card: Path) -> bool:
    return any(line.startswith("configs:") for line in card.read_text(encoding="utf-8", errors="replace").splitlines())


def _as_datasets_reads(root: Path, config: str | None, split: str) -> _Source | None:
    """
    Return a split of a folder whose Parquet or Arrow files, or recordings, `datasets` finds. None if it finds none.

    Raises:
        ValueError: it finds other splits.
    """
    try:
        builder = datasets.load_dataset_builder(str(root), config)
    except FAILURES as error:
        logger.debug("datasets does not read %s: %s", root, error)
        return None
    kind, files = _kind_of(builder), builder.config.data_files or {}
    told = any(Path(str(file)).stem == "metadata" for some in files.values() for file in some)
    if kind not in FOLDER_BUILDERS or (kind == "audiofolder" and not told):  # which knows no transcripts
        return None
    if split not in files:
        raise ValueError(f"{str(root)!r} has no split {split!r}; its splits are {', '.join(map(str, files))}")
    return _hub_layout(str(root), config, split)


def _kind_of(builder: datasets.DatasetBuilder) -> str:
    """Return what `datasets` takes a corpus for, such as parquet."""
    return type(builder).__module__.split(".")[-1]


def _hub_layout(name: str, config: str | None, split: str, **options: Any) -> _Source:
    def open_stream() -> tuple[datasets.DatasetBuilder, IterableDataset]:
        builder = datasets.load_dataset_builder(name, config, **options)
        if _kind_of(builder) == "audiofolder":
            builder.config.decode_num_threads = 0  # else it decodes ahead, by torchcodec
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
    if _kind_of(builder) == "audiofolder":  # yields paths; the type Audio would want torchcodec to pass them on
        for column in [name for name, feature in (stream.features or {}).items() if isinstance(feature, Audio)]:
            stream = stream.cast_column(column, Value("string"))
    commit = builder.hash if builder.repo_id else None
    root = f"hf://datasets/{name}@{commit}" if commit else str(Path(name).absolute())
    files = [str(file) for file in (builder.config.data_files or {}).get(split, [])]
    if not all(file.lower().endswith(".parquet") and "://" not in file for file in files):
        files = []
    with reading(name):
        if files and (features := _all_columns(files, builder.info.features)):
            builder = datasets.load_dataset_builder(name, config, **options, features=features)
            stream = builder.as_streaming_dataset(split=split)
        count = _count_examples(builder, split, files)
        return _Source(stream, count, commit, (root,), files=files, remote=commit is not None)


def _all_columns(files: Sequence[str], found: Features | None) -> Features | None:
    """
    Return the columns of all Parquet files of a split, if they differ: `datasets` takes those of the first file.

    Raises:
        ValueError: a column has values of another kind in another file.
    """
    schemas = [pyarrow.parquet.read_schema(file).remove_metadata() for file in files]
    if all(schema.equals(schemas[0]) for schema in schemas):
        return None
    texts = {field.name for schema in schemas for field in schema if pyarrow.types.is_string(field.type)}
    alike = [pyarrow.schema([_as_text(field) if field.name in texts else field for field in one]) for one in schemas]
    try:
        merged = pyarrow.unify_schemas(alike, promote_options="permissive")
    except pyarrow.ArrowTypeError as error:
        raise ValueError(
            f"the Parquet files of one split differ, {files[0]!r} and others: {error}; write all of them with the same "
            "columns"
        ) from error
    features = Features.from_arrow_schema(merged)
    kept = {name: feature for name, feature in (found or {}).items() if isinstance(feature, Audio) and name in features}
    return Features(features | kept)


def _as_text(field: pyarrow.Field) -> pyarrow.Field:
    """Return a column of numbers as one of strings, because another file has strings in it (ids such as 7 and x7)."""
    number = pyarrow.types.is_integer(field.type) or pyarrow.types.is_floating(field.type)
    return field.with_type(pyarrow.string()) if number else field


def _count_examples(builder: datasets.DatasetBuilder, split: str, files: Sequence[str]) -> int | None:
    if builder.info.splits and split in builder.info.splits and builder.info.splits[split].num_examples:
        return builder.info.splits[split].num_examples
    return sum(pyarrow.parquet.read_metadata(file).num_rows for file in files) if files else None


def _ids(source: _Source, stream: IterableDataset) -> list[str] | None:
    """Return the ids of a local corpus, or None if its recordings would have to be read for them."""
    columns = source.stream.column_names or []
    column = "id" if source.listed else first_column(columns, ID_COLUMNS)
    if source.commit is not None or (column is None and (source.num_examples or MANY) >= MANY):
        return None
    if column is None:
        return [row["id"] for row in stream]
    if source.files:
        tables = (pyarrow.parquet.read_table(file, columns=[column]) for file in source.files)
        return [label(value) or "" for table in tables for value in table[column].to_pylist()]
    return [label(row[column]) or "" for row in source.stream.select_columns([column])]


def _listed(rows: list[ListRow]) -> _Source:
    # Lists are often sorted by speaker or length. Without a shuffle, a window would have one speaker.
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(rows))
    columns = {key: [rows[i][key] for i in order] for key in rows[0]}
    names = columns["audio"]
    columns["audio"] = [name and printable(name) for name in names]
    columns["text_path"] = [name and printable(name) for name in columns["text_path"]]
    # Arrow takes no names that are not UTF-8.
    columns["name"] = [
        os.fsencode(name) if name and name != shown and not LONE_SURROGATES.search(name) else None
        for name, shown in zip(names, columns["audio"], strict=True)
    ]
    features = {key: Value("string") for key in columns} | {"name": Value("binary")}
    features |= {"start_s": Value("float64"), "end_s": Value("float64")}
    listed = datasets.Dataset.from_dict(columns, features=Features(features))
    stream = listed.to_iterable_dataset(num_shards=min(len(rows), MAX_LOCAL_SHARDS))
    return _Source(
        stream, len(rows), listed=True, remote=any(is_remote({"bytes": None, "path": name}) for name in names)
    )


def _is_one_path(files: Sequence[str], audio: str) -> bool:
    """Return whether all encoded recordings at the start of local Parquet files have the same path."""
    if not files:
        return False
    with pyarrow.parquet.ParquetFile(files[0]) as file:
        known = {file.schema.column(index).path for index in range(len(file.schema))}
        if not file.num_row_groups or f"{audio}.path" not in known:
            return False
        rows = file.read_row_group(0, columns=[f"{audio}.path"]).column(0).to_pylist()
    return len(rows) > 1 and len({row and row["path"] for row in rows}) == 1


def _canonical(source: _Source, title: str, wanted: _Wanted) -> IterableDataset:
    """Return the stream with its columns renamed to those of FEATURES, and the kept columns."""
    stream, kept = source.stream, tuple(wanted.kept_columns)
    columns = stream.column_names or list(next(iter(stream)))
    if own := [column for column in kept if column in FEATURES]:
        raise ValueError(f"{', '.join(own)} is part of every corpus; scores by speaker are always reported")
    there = [column.removeprefix(KEPT) for column in columns] if source.listed else columns
    if missing := [column for column in kept if column not in there]:
        raise ValueError(f"{title} has no column {', '.join(missing)}; its columns are {shown_columns(there)}")
    if source.listed:
        text = wanted.text_column and "text"
        fields = Fields("audio", text, "id", "speaker_id", listed=True)
    else:
        audio = find_column(columns, wanted.audio_column, AUDIO_COLUMNS, title, "audio_column")
        text = wanted.text_column and find_column(columns, wanted.text_column, TEXT_COLUMNS, title, "text_column")
        fields = replace(
            fields_of(columns, stream.features, audio, text, title), same_path=_is_one_path(source.files, audio)
        )
        if stream.features and isinstance(stream.features[audio], Audio):
            stream = stream.cast_column(audio, Audio(decode=False))
    fields = replace(fields, kept=kept, roots=source.roots)
    features = Features(FEATURES | {column: Value("string") for column in kept})
    return stream.map(fields.canonical, remove_columns=columns, features=features)
