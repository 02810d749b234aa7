"""
Lists of recordings as rows: manifests, the metadata of audio folders, and tables of transcripts.

A manifest is the user's own list and can name any file of the machine, like the absolute paths of deepspeech.pytorch. A
folder can come from anyone, so its metadata can only name files of that folder.
"""

import csv
import functools
import io
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..system.files import printable, write_whole
from .audio.recordings import AudioError, audio_duration_s
from .lists.cells import (
    Cell,
    Span,
    SpanColumns,
    are_sentences,
    label,
    short,
    span,
    span_columns,
    transcript,
    with_span,
)
from .lists.columns import (
    AUDIO_COLUMNS,
    ID_COLUMNS,
    KNOWN,
    SPEAKER_COLUMNS,
    TEXT_COLUMNS,
    TEXT_PATH_COLUMNS,
    find_column,
    first_column,
    shown_columns,
)
from .lists.delimited import TEXT_FILES
from .lists.folders import KALDI, KEPT, ListRow, new_row, read_kaldi
from .lists.places import Names, is_recording, is_url, locate, name_cell, names_of
from .lists.tables import Table, read_table

logger = logging.getLogger(__name__)

MANIFEST_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
# Recordings in one of these folders are not for training.
SCORED_FOLDERS = ("validation", "valid", "val", "dev", "test", "eval")
METADATA_NAMES = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
LISTED_SPLITS = {"validation": "dev", "dev": "validation"}  # other names of a split's list, such as dev.tsv
SPANS_LOOKED_AT, SPAN_SLACK_S = 20, 0.1


def read_manifest(
    path: Path,
    text_column: str | None,
    audio_column: str,
    kept_columns: Sequence[str] = (),
    *,
    audio_root: str = "",
    audio_columns: Sequence[str] = AUDIO_COLUMNS,
) -> list[ListRow]:
    """
    Read the rows of a manifest: `audio` (a path or URL), `text` or `text_path` (a file to read later), `id`,
    `speaker_id`, the span `start_s` and `end_s` in seconds (None: from the beginning, to the end), those of
    `kept_columns` that it has behind the prefix KEPT, and `fault`: None, or why the row cannot be used, as `reason:
    detail`.

    A manifest is CSV or TSV (also with semicolons or bars), JSON, JSON lines, or Kaldi's wav.scp beside its text. It is
    a table with a header, or pairs of a recording and a text or a file of text, or LJSpeech's `id|text|normalised`.
    Relative paths start at the manifest, at its `root_path`, or at `audio_root`. With `text_column` None, transcripts
    are not read.

    Raises:
        ValueError: the manifest is empty or malformed, a column is missing, or none of its recordings exists.
    """
    where = f"the manifest {printable(str(path))!r}"
    root = str(path.parent.absolute())
    if path.name == KALDI:
        rows = read_kaldi(path.parent, text_column is not None)
        names, remarks = names_of([row["audio"] for row in rows], root, audio_root, where)
        _say(logging.INFO, "; ".join([f"{len(rows):,} rows from {where}", *remarks]))
        return [row | {"audio": names.path(row["audio"])} if row["audio"] else row for row in rows]
    wanted = [name for name in (text_column, audio_column, *kept_columns) if name]
    table = read_table(path, [*KNOWN, *wanted], lambda cell: is_recording(cell) or os.path.isfile(_beside(path, cell)))
    if not table.rows:
        raise ValueError(f"{where} holds no rows; expected one row for each recording")
    columns, root = table.columns, str(table.root.absolute())
    audio = find_column(columns, audio_column, audio_columns, where, "audio_column")
    cells = [name_cell(row.get(audio)) for row in table.rows]
    names, remarks = names_of([name for name, _ in cells], root, audio_root, where)
    table.remarks += remarks
    texts, text_paths = _texts(table, text_column, where, Names(root))
    spans = _spans(table, columns, cells, names, texts)
    id_column, speaker = first_column(columns, ID_COLUMNS), first_column(columns, SPEAKER_COLUMNS)
    entries = []
    for number, (row, (name, fault), text, text_path, (part, odd)) in enumerate(
        zip(table.rows, cells, texts, text_paths, spans, strict=True), 1
    ):
        faults = [f"missing_file: {fault}"] if fault else [f"bad_span: {odd}"] if odd else []
        if text.fault:
            faults.append(text.fault)
        entries.append(
            new_row(
                names.path(name) if name else None,
                text=text.text,
                text_path=text_path,
                id=(label(row.get(id_column)) if id_column else None)
                or short(with_span(printable(name) if name else f"row {number} of {path.name}", part)),
                speaker_id=label(row.get(speaker)) if speaker else None,
                start_s=part.start_s,
                end_s=part.end_s,
                fault=faults[0] if faults else None,
                **{KEPT + column: label(row.get(column)) for column in kept_columns if column in columns},
            )
        )
    if id_column:
        _tell_spans_apart(entries)
    _say(logging.INFO, "; ".join([f"{len(entries):,} rows from {where}", *table.remarks]))
    for doubt in table.doubts:
        _say(logging.WARNING, f"{where}: {doubt}")
    return entries


def _tell_spans_apart(entries: Sequence[ListRow]) -> None:
    """Add its times to the id of a part of a recording, if the list gives several parts the same id."""
    counts = Counter(entry["id"] for entry in entries)
    for entry in entries:
        if counts[entry["id"]] > 1:
            entry["id"] = short(with_span(entry["id"], Span(entry["start_s"], entry["end_s"])))


@functools.cache
def _say(level: int, message: str) -> None:
    """Log a message once. A list is read again for each split and each part of it."""
    logger.log(level, "%s", message)


def _beside(path: Path, name: str) -> str:
    return locate(os.path.join(path.parent, name))


def _texts(table: Table, text_column: str | None, where: str, names: Names) -> tuple[list[Cell], list[str | None]]:
    """Return the transcript of each row, and the file that holds it if the column names files."""
    nothing: list[str | None] = [None] * len(table.rows)
    if text_column is None:
        return [Cell(None)] * len(table.rows), nothing
    columns = table.columns
    in_files = first_column(columns, TEXT_PATH_COLUMNS)
    if in_files is None or first_column(columns, (text_column,)):
        text = find_column(columns, text_column, TEXT_COLUMNS, where, "text_column")
        values = [row.get(text) for row in table.rows]
        given = [value for value in values if value]
        if not given or not all(isinstance(value, str) and value.endswith(TEXT_FILES) for value in given):
            sentences = are_sentences(values)
            return [transcript(value, sentences) for value in values], nothing
        in_files = text
    paths = [row.get(in_files) for row in table.rows]
    cells = [Cell(None) if isinstance(path, str) and path else transcript(path) for path in paths]
    return cells, [names.path(path) if isinstance(path, str) and path else None for path in paths]


def _spans(
    table: Table,
    columns: Sequence[str],
    cells: Sequence[tuple[str | None, str]],
    names: Names,
    texts: Sequence[Cell],
) -> list[tuple[Span, str]]:
    """Return the span of each row and its fault. Spans that only tell where a clip was cut from are none."""
    own = span_columns(columns)
    whole = [(Span(), "")] * len(table.rows)
    if own is None:
        by_name = defaultdict(set)
        for (name, _), text in zip(cells, texts, strict=True):
            by_name[name].add(text.text)
        repeated = [name for name, different in by_name.items() if name and len(different) > 1]
        if repeated:
            table.doubts.append(
                f"{len(repeated)} recordings have several rows with different texts, such as {repeated[0]!r}, and each "
                "row is of the whole recording. For parts of it, give columns offset and duration, or start and end, "
                f"in seconds; the columns are {shown_columns(columns)}"
            )
        return whole
    spans = [span(row, own) for row in table.rows]
    used = [(name, part) for (name, _), (part, odd) in zip(cells, spans, strict=True) if name and not odd]
    if len({name for name, _ in used}) == len(used) and _are_whole_files(used, names):
        table.remarks.append(f"{' and '.join(_given(own))} are the times of whole files, not parts of them")
        return whole
    table.remarks.append(f"{' and '.join(_given(own))} choose parts of the recordings")
    return spans


def _given(columns: SpanColumns) -> list[str]:
    return [name for name in columns if name]


def _are_whole_files(used: Sequence[tuple[str, Span]], names: Names) -> bool:
    """Return whether each file lasts as long as its span: clips that were cut before, with their old times."""
    measured = []
    for name, part in used[:: -(-len(used) // SPANS_LOOKED_AT)] if used else ():
        if is_url(path := locate(names.path(name))) or part.end_s is None:
            return False
        try:
            duration_s = audio_duration_s({"bytes": None, "path": path})
        except AudioError:
            continue  # it is dropped with a reason when it is read
        measured.append(abs(duration_s - (part.end_s - (part.start_s or 0.0))) <= SPAN_SLACK_S)
    return bool(measured) and all(measured)


def read_transcripts(path: Path) -> dict[str, Cell]:
    """
    Read the texts by utterance id of a .csv or .tsv with the columns `id` and `text`.

    Raises:
        ValueError: the file does not exist or is malformed, a column is missing, or an id occurs twice.
    """
    if path.suffix.lower() not in (".csv", ".tsv") or not path.is_file():
        raise ValueError(
            f"transcripts {str(path)!r} is not a .csv or .tsv file (the current folder is {str(Path.cwd())!r})"
        )
    table = read_table(path, ("id", "text"), lambda cell: False)
    columns = table.columns
    id_column, text = first_column(columns, ("id",)), first_column(columns, ("text",))
    if id_column is None or text is None:
        raise ValueError(
            f"transcripts {str(path)!r} has the columns {shown_columns(columns)}; expected the columns id and text, "
            "and at least one row"
        )
    sentences = are_sentences(row.get(text) for row in table.rows)
    texts = {short(row[id_column]): transcript(row.get(text, ""), sentences) for row in table.rows}
    if len(texts) < len(table.rows):
        raise ValueError(
            f"transcripts {str(path)!r} has {len(table.rows)} rows, but {len(texts)} different ids; "
            "expected one row for each id"
        )
    for doubt in table.doubts:
        _say(logging.WARNING, f"transcripts {str(path)!r}: {doubt}")
    return texts


def write_transcripts(path: Path, columns: Sequence[str], rows: Iterable[tuple[str, ...]]) -> None:
    """Write a .csv for `read_transcripts`, with the `columns` (id and text among them) and the sorted rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([columns, *sorted(rows)])
    write_whole(path, table.getvalue())


def find_metadata(root: Path, split: str) -> Path | None:
    """Return the metadata file of an audio folder: that in the folder of the split, or else the one at the top."""
    return _find(root / split, METADATA_NAMES) or _find(root, METADATA_NAMES)


def find_list(root: Path, split: str) -> Path | None:
    """Return the list of a split in a folder: `train.tsv` as in Common Voice, or wav.scp of Kaldi."""
    splits = [name for name in (split, LISTED_SPLITS.get(split)) if name]
    lists = [name + suffix for name in splits for suffix in MANIFEST_SUFFIXES]
    data = [_find(root / name, (KALDI,)) for name in splits] + [_find(root, (KALDI,)) if split == "train" else None]
    return _find(root, lists) or next(filter(None, data), None)


def _find(folder: Path, names: Iterable[str]) -> Path | None:
    """Return the first of the files that a folder has, in any letter case."""
    # os.path answers for every name, also a very long one or one with NUL; Path raises for these.
    there = {name.lower(): name for name in sorted(os.listdir(folder))} if os.path.isdir(folder) else {}
    found = next((there[name.lower()] for name in names if name.lower() in there), None)
    return folder / found if found else None


def read_metadata(
    metadata: Path,
    root: Path,
    split: str,
    text_column: str | None,
    audio_column: str,
    kept_columns: Sequence[str] = (),
    *,
    audio_root: str = "",
) -> list[ListRow]:
    """
    Read the rows of an audio folder, like `read_manifest`. One metadata file at the top serves all splits: the file
    names of a split start with its folder. If no file name starts so, all rows are the split `train`.

    Raises:
        ValueError: as `read_manifest`, or the file does not have the split.
    """
    known = AUDIO_COLUMNS
    if audio_column == known[0]:
        audio_column, known = "file_name", tuple(dict.fromkeys(("file_name", *known)))
    rows = read_manifest(metadata, text_column, audio_column, kept_columns, audio_root=audio_root, audio_columns=known)
    if metadata.parent != root:
        return rows
    top = f"{root.absolute()}/"
    below = [str(row["audio"]).replace("\\", "/").removeprefix(top) for row in rows]
    of_split = [row for row, name in zip(rows, below, strict=True) if name.startswith(f"{split}/")]
    if not of_split and split != "train":
        raise ValueError(
            f"{str(metadata)!r} names no recording in a folder {split!r}; expected file names such as "
            f"'{split}/recording.wav', or a folder {split!r} with its own metadata file. A folder without such "
            "parts is the split 'train', and held_out_share makes the split 'held-out' from it"
        )
    if not of_split and (held_back := sorted({name.split("/")[0] for name in below} & set(SCORED_FOLDERS))):
        raise ValueError(
            f"{str(metadata)!r} names no recording in a folder 'train', but some in {', '.join(held_back)}: as a "
            "whole, it would train on recordings meant for scoring. Put the others into a folder 'train'"
        )
    return of_split or rows
