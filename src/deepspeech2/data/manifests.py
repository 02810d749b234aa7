"""
Local lists of recordings as rows: manifests, `metadata.csv` folders, and the official LibriSpeech tree.

A manifest is the user's own list and can name any file of the machine, like the absolute paths of deepspeech.pytorch. A
folder can come from anyone, so its metadata can only name files of that folder.
"""

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ..system.files import write_whole
from .audio.recordings import AUDIO_SUFFIXES

MANIFEST_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
# Recordings of the last format cannot be read. They are listed, so that they are dropped with a reason.
RECORDING_SUFFIXES = (*AUDIO_SUFFIXES, ".m4a")
# Recordings in one of these folders are not for training.
SCORED_FOLDERS = ("validation", "valid", "val", "dev", "test", "eval")
METADATA_NAMES = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
# If the column is the default one and absent, the first of these that exists replaces it.
AUDIO_COLUMNS = ("audio", "file_name", "audio_filepath", "wav_path", "wav", "path", "file")
TEXT_COLUMNS = ("text", "sentence", "transcription", "transcript")
ID_COLUMNS = ("id",)
SPEAKER_COLUMNS = ("speaker_id", "speaker", "client_id")


def find_column(present: Sequence[str], wanted: str, known: Sequence[str], where: str, option: str) -> str:
    """
    Return the column `wanted`, or, if it is the default and absent, the first of `known` that exists.

    Raises:
        ValueError: there is no such column. The message lists the columns.
    """
    candidates = known if wanted == known[0] else (wanted,)
    found = next((column for column in candidates if column in present), None)
    if found is None:
        raise ValueError(
            f"{where} has no column {' or '.join(repr(column) for column in candidates)}; its columns are "
            f"{', '.join(present)}. Name the right one with {option}"
        )
    return found


def first_column(present: Sequence[str], known: Sequence[str]) -> str | None:
    return next((column for column in known if column in present), None)


def read_manifest(
    path: Path, text_column: str | None, audio_column: str, kept_columns: Sequence[str] = ()
) -> list[dict[str, str | None]]:
    """
    Read the rows of a manifest: `audio` (a path), `text` or `text_path` (a file to read later), `id`, `speaker_id`, and
    the `kept_columns` that it has.

    A manifest is CSV or TSV with a header, CSV of `wav_path,txt_path` pairs without a header, JSON with a list of
    objects or with `root_path` and `samples` of `wav_path` and `transcript_path`, or JSONL. Relative paths start at the
    manifest (or at its `root_path`). With `text_column` None, transcripts are not read.

    Raises:
        ValueError: the manifest is empty or malformed, a column is missing, or the first recording does not exist.
    """
    rows, root = _manifest_rows(path)
    if not rows:
        raise ValueError(f"the manifest {str(path)!r} holds no rows; expected one row for each recording")
    columns = list(rows[0])
    audio = find_column(columns, audio_column, AUDIO_COLUMNS, f"the manifest {str(path)!r}", "audio_column")
    id_column, speaker = first_column(columns, ID_COLUMNS), first_column(columns, SPEAKER_COLUMNS)
    text = text_path = None
    if text_column is not None:
        text_path = first_column(columns, ("transcript_path", "txt_path"))
    if text_column is not None and (text_path is None or text_column in columns):
        text = find_column(columns, text_column, TEXT_COLUMNS, f"the manifest {str(path)!r}", "text_column")
    entries = [
        {
            "audio": _absolute(row.get(audio), root),
            "text": _string(row.get(text)) if text else None,
            "text_path": _absolute(row.get(text_path), root) if text_path and not text else None,
            "id": (_string(row.get(id_column)) if id_column else None) or _string(row.get(audio)),
            "speaker_id": _string(row.get(speaker)) if speaker else None,
            **{column: _string(row.get(column)) for column in kept_columns if column in columns},
        }
        for row in rows
    ]
    _check_first(entries[0]["audio"], path)
    return entries


def read_transcripts(path: Path) -> dict[str, str]:
    """
    Read the texts by utterance id of a .csv or .tsv with the columns `id` and `text`.

    Raises:
        ValueError: the file does not exist or is malformed, a column is missing, or an id occurs twice.
    """
    if path.suffix not in (".csv", ".tsv") or not path.is_file():
        raise ValueError(
            f"transcripts {str(path)!r} is not a .csv or .tsv file (the current folder is {str(Path.cwd())!r})"
        )
    rows, _ = _manifest_rows(path)
    columns = list(rows[0]) if rows else []
    if "id" not in columns or "text" not in columns:
        raise ValueError(
            f"transcripts {str(path)!r} has the columns {columns}; expected "
            "the columns id and text, and at least one row"
        )
    texts = {row["id"]: row.get("text") or "" for row in rows}
    if len(texts) < len(rows):
        raise ValueError(
            f"transcripts {str(path)!r} has {len(rows)} rows, but {len(texts)} different ids; "
            "expected one row for each id"
        )
    return texts


def write_transcripts(path: Path, columns: Sequence[str], rows: Iterable[tuple[str, ...]]) -> None:
    """Write a .csv for `read_transcripts`, with the `columns` (id and text among them) and the sorted rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([columns, *sorted(rows)])
    write_whole(path, table.getvalue())


def _manifest_rows(path: Path) -> tuple[list[dict[str, Any]], Path]:
    root = path.parent
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".jsonl":
                rows = [json.loads(line) for line in file if line.strip()]
            elif path.suffix == ".json":
                content = json.load(file)
                if isinstance(content, dict) and isinstance(content.get("samples"), list):
                    root = root / str(content.get("root_path") or "")
                    content = content["samples"]
                rows = content
            else:
                return _delimited_rows(file, path.suffix), root
    except RecursionError as error:
        raise ValueError(f"the manifest {str(path)!r} is nested too deeply; expected a list of objects") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"the manifest {str(path)!r} is not UTF-8 text: {error}; save it as UTF-8") from error
    except (ValueError, csv.Error) as error:
        raise ValueError(f"the manifest {str(path)!r} cannot be read as {path.suffix[1:]}: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(
            f"the manifest {str(path)!r} must hold one object for each recording "
            '(a list of them, one a line, or {"root_path": ..., "samples": [...]})'
        )
    return rows, root


def _delimited_rows(lines: Iterator[str], suffix: str) -> list[dict[str, Any]]:
    # Tab-separated transcripts (Common Voice) have unpaired quotation marks.
    if suffix == ".tsv":
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:  # spreadsheets with a decimal comma write semicolons
        head = next(lines, "")
        reader = csv.reader(chain([head], lines), delimiter=";" if ";" in head and "," not in head else ",")
    table, lines_of = [], []
    for row in reader:
        if any(row):
            table.append([cell.strip() for cell in row])
            lines_of.append(reader.line_num)
    if not table:
        return []
    first = table[0]
    for row, line in zip(table, lines_of, strict=True):
        if len(row) > len(first):
            raise csv.Error(
                f"line {line} has {len(row)} cells, but the first line has {len(first)}; put a transcript with a "
                "comma in quotation marks"
            )
    headerless = len(first) == 2 and Path(first[0]).suffix.lower() in RECORDING_SUFFIXES and first[1].endswith(".txt")
    header, body = (["wav_path", "txt_path"], table) if headerless else (first, table[1:])
    return [dict(zip(header, row, strict=False)) for row in body]


def _string(value: Any) -> str | None:
    """Convert to str. Lone surrogates, which JSON can escape and no file can hold, become U+FFFD."""
    return None if value is None else re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", str(value))


def _absolute(value: Any, root: Path) -> str | None:
    name = _string(value)
    if not name:
        return None
    return name if "://" in name else str(root.absolute() / os.path.expanduser(name))


def _check_first(audio: str | None, source: Path) -> None:
    if audio is None or ("://" not in audio and not os.path.isfile(audio)):
        raise ValueError(
            f"the first recording of {str(source)!r} is {audio!r}, which is not a file; "
            f"relative paths start at {str(source.parent)!r}"
        )


def find_metadata(root: Path, split: str) -> Path | None:
    """Return the metadata file of an audio folder: that in the folder of the split, or else the one at the top."""
    # os.path answers for every name, also a very long one or one with NUL; Path raises for these.
    places = [folder / name for folder in (root / split, root) for name in METADATA_NAMES]
    return next((place for place in places if os.path.isfile(place)), None)


def read_metadata(
    metadata: Path, root: Path, split: str, text_column: str | None, audio_column: str, kept_columns: Sequence[str] = ()
) -> list[dict[str, str | None]]:
    """
    Read the rows of an audio folder, like `read_manifest`. One metadata file at the top serves all splits: the file
    names of a split start with its folder. If no file name starts so, all rows are the split `train`.

    Raises:
        ValueError: as `read_manifest`, or the file does not have the split.
    """
    if audio_column == AUDIO_COLUMNS[0]:
        audio_column = "file_name"
    rows = read_manifest(metadata, text_column, audio_column, kept_columns)
    if metadata.parent != root:
        return rows
    prefix = f"{root.absolute() / split}/"
    of_split = [row for row in rows if str(row["audio"]).startswith(prefix)]
    if not of_split and split != "train":
        raise ValueError(
            f"{str(metadata)!r} names no recording in a folder {split!r}; expected file names such as "
            f"'{split}/recording.wav', or a folder {split!r} with its own metadata file. A folder without such "
            "parts is the split 'train', and held_out_share makes the split 'held-out' from it"
        )
    if not of_split:
        tops = {str(row["audio"]).removeprefix(f"{root.absolute()}/").split("/")[0] for row in rows}
        if held_back := sorted(tops & set(SCORED_FOLDERS)):
            raise ValueError(
                f"{str(metadata)!r} names no recording in a folder 'train', but some in {', '.join(held_back)}: as a "
                "whole, it would train on recordings meant for scoring. Put the others into a folder 'train'"
            )
    return of_split or rows


def read_recordings(root: Path, split: str) -> list[dict[str, str | None]]:
    """Return rows, like `read_manifest`, of recordings without metadata: those in the folder `split`, or in `root`."""
    folder = root / split if os.path.isdir(root / split) else root
    return [
        {
            "audio": str(path.absolute()),
            "text": None,
            "text_path": None,
            "id": str(path.relative_to(folder)),
            "speaker_id": None,
        }
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in RECORDING_SUFFIXES
    ]


def has_librispeech_tree(root: Path) -> bool:
    return next(root.rglob("*.trans.txt"), None) is not None


def read_librispeech(root: Path, config: str | None, split: str) -> list[dict[str, str | None]]:
    """
    Read the rows of one part of the official tree `<part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt`.

    The name of a part is its folder (`train-clean-100`), or its name on the Hub (`train.100` of `clean`).

    Raises:
        ValueError: the part does not exist (the message lists those that do), or has no transcripts.
    """
    names = [split, *_official_names(config, split)]
    folders = [top / name for top in (root, root / "LibriSpeech") for name in names]
    if root.name in names:
        folders.append(root)
    folder = next((folder for folder in folders if os.path.isdir(folder)), None)
    if folder is None:
        raise ValueError(
            f"no part {split!r}{f' of {config!r}' if config else ''} under {str(root)!r}: looked for "
            f"{', '.join(names)}; the parts with transcripts are {', '.join(_parts(root))}"
        )
    rows = [row for transcripts in sorted(folder.rglob("*.trans.txt")) for row in _chapter(transcripts)]
    if not rows:
        raise ValueError(f"{str(folder)!r} has no transcripts; expected files *.trans.txt")
    return rows


def _official_names(config: str | None, split: str) -> list[str]:
    kind, _, hours = split.partition(".")
    if kind not in ("train", "validation", "dev", "test"):
        return []
    kind = "dev" if kind == "validation" else kind
    sets = [config] if config in ("clean", "other") else ["clean", "other"]
    # Without a configuration, only the hours tell clean from other.
    if config not in ("clean", "other") and kind == "train" and hours:
        sets = ["other"] if hours == "500" else ["clean"]
    elif config not in ("clean", "other"):
        return []
    return [f"{kind}-{name}{f'-{hours}' if hours else ''}" for name in sets]


def _parts(root: Path) -> list[str]:
    """Return the folders of the parts: they hold folders of speakers, which hold folders of chapters."""
    found = {path.relative_to(root).parts[:-3] for path in root.rglob("*.trans.txt")}
    return sorted("/".join(parts) or "." for parts in found)


def _chapter(transcripts: Path) -> Iterator[dict[str, str | None]]:
    recordings = {path.stem: path for path in transcripts.parent.iterdir() if path.suffix in RECORDING_SUFFIXES}
    for line in transcripts.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        name, _, text = line.strip().partition(" ")
        yield {
            # A missing recording is dropped with a reason when it is read.
            "audio": str(recordings.get(name, transcripts.parent / f"{name}.flac").absolute()),
            "text": text,
            "text_path": None,
            "id": name,
            "speaker_id": name.partition("-")[0],
        }
