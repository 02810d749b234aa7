"""Files of lists to rows of cells: CSV, TSV, JSON and JSON lines, in the encodings and shapes that programs write."""

import codecs
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...system.files import LFS_POINTER
from .columns import AUDIO_COLUMNS, first_column, folded, shown_columns
from .delimited import DELIMITERS, read_delimited

# Byte order marks, the longest first: that of UTF-32 begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
NO_LISTS = {  # how files begin that are no text, and what to do
    b"\x1f\x8b": "is compressed by gzip; unpack it: gunzip",
    b"PK\x03\x04": "is a zip archive or a workbook of Excel; unpack it, or save the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "is a workbook of Excel; save the sheet as CSV UTF-8",
    b"PAR1": "is a Parquet file; name its folder, not the file",
    LFS_POINTER: "is a pointer of Git LFS, not the list; fetch the list: git lfs pull",
    b"<!DOCTYPE": "is a web page; download the file itself",
    b"<html": "is a web page; download the file itself",
}
SHOWN_LINES = 5


@dataclass
class Table:
    """
    The rows of a list.

    Args:
        rows: the cells of each row by column. A row may lack columns.
        root: the folder that relative names start at.
        remarks: what was found out about the file, in a few words each.
        doubts: what was tolerated, and may be wrong.
    """

    rows: list[dict[str, Any]]
    root: Path
    remarks: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """The columns of all rows, in the order in which they occur."""
        return list(dict.fromkeys(column for row in self.rows for column in row if column))


def read_table(path: Path, known: Sequence[str], is_name: Callable[[str], bool]) -> Table:
    """
    Read a `.csv`, `.tsv`, `.json` or `.jsonl`.

    Args:
        path: the file.
        known: names of columns that a header may have.
        is_name: tells whether a cell names a recording, for tables without a header.

    Raises:
        ValueError: the file is no such list. The message names the line.
    """
    suffix = path.suffix.lower()
    try:
        text = read_text(path)
        if suffix in (".json", ".jsonl"):
            return _json_table(text, suffix, path)
        if text.lstrip("\ufeff \n\r\t").startswith(("{", "[{")):
            raise ValueError("it holds JSON; call it .json, or .jsonl with one object a line")
        table = read_delimited(text, suffix, known, is_name)
    except RecursionError as error:
        raise ValueError(f"the manifest {str(path)!r} is nested too deeply; expected a list of objects") from error
    except ValueError as error:
        raise ValueError(f"the manifest {str(path)!r} cannot be read as {suffix[1:]}: {error}") from error
    remarks, doubts = [], []
    if table.delimiter != ("\t" if suffix == ".tsv" else ","):
        remarks.append(f"its cells are separated by {DELIMITERS.get(table.delimiter, repr(table.delimiter))}")
    if table.headerless:
        remarks.append(f"it has no header; its columns are {', '.join(table.columns)}")
    if table.comments:
        remarks.append(f"comments left out: {table.comments}")
    if table.literal and table.delimiter in ",;":  # in tables with tabs and bars, quotation marks are characters
        lines = ", ".join(map(str, table.literal[:SHOWN_LINES])) + (", ..." if len(table.literal) > SHOWN_LINES else "")
        doubts.append(
            f"quotation marks that do not enclose a cell are read as characters: {len(table.literal)} lines ({lines})"
        )
    rows = [dict(zip(table.columns, row, strict=False)) for row in table.rows]
    return Table(rows, path.parent, remarks, doubts)


def read_text(path: Path) -> str:
    """
    Return the content of a text file, by its byte order mark or as UTF-8.

    Raises:
        ValueError: it is no text, or in another encoding. The message says what it is and what to do.
    """
    content = path.read_bytes()
    for start, what in NO_LISTS.items():
        if content[: len(start)].lower() == start.lower():
            raise ValueError(f"it {what}")
    encoding = next((encoding for mark, encoding in MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"it is not UTF-8 text: {error.reason} in line {line} (0x{content[error.start]:02x}); save it as UTF-8 (in "
            "Excel: CSV UTF-8)"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"line {line} has NUL characters: the file is damaged, or UTF-16 without a mark; save it as UTF-8"
        )
    return text


def _json_table(text: str, suffix: str, path: Path) -> Table:
    content = _values(text) if suffix == ".jsonl" else [_document(text)]
    if len(content) != 1 or (suffix == ".jsonl" and isinstance(content[0], dict)):
        return Table(_objects(content, path), path.parent)
    (only,) = content
    if isinstance(only, dict) and isinstance(only.get("samples"), list):
        return Table(_objects(only["samples"], path), path.parent / str(only.get("root_path") or ""))
    if isinstance(only, _Lines):
        return Table(_objects(list(only), path), path.parent, ["it is read as JSON lines"])
    if isinstance(only, dict):
        rows, shape = _rows_of_object(only)
        return Table(_objects(rows, path), path.parent, [shape] if shape else [])
    return Table(_objects(only, path), path.parent)


class _Lines(list):
    """Values that are JSON lines in a file that is called .json."""


def _document(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _Lines(_values(text))
        raise ValueError(_where(error, text)) from error


def _values(text: str) -> list[Any]:
    """Return the JSON values of a text, one after the other."""
    decoder, values, at = json.JSONDecoder(object_pairs_hook=_unique), [], 0
    while at := _next(text, at):
        try:
            value, at = decoder.raw_decode(text, at - 1)
        except json.JSONDecodeError as error:
            raise ValueError(_where(error, text)) from error
        except _RepeatedKeyError as error:
            raise ValueError(f"line {text.count(chr(10), 0, at) + 1}: {error}") from error
        values.append(value)
    return values


def _next(text: str, at: int) -> int:
    """Return the place after the next character that is no space, or 0 at the end."""
    found = re.compile(r"[^\s\ufeff]").search(text, at)
    return found.end() if found else 0


def _where(error: json.JSONDecodeError, text: str) -> str:
    line = text.count("\n", 0, error.pos) + 1
    begun = text.rfind("\n", 0, error.pos) + 1
    found = text[error.pos : error.pos + 20].split("\n")[0]
    advice = ""
    if text[begun : begun + 1] in ("#", "/"):
        advice = "; JSON has no comments"
    elif text[: error.pos].rstrip().endswith(",") or found.startswith(","):
        advice = "; JSON has no comma after the last value, and JSON lines none between the lines"
    return f"line {line}: {error.msg} at {found!r}{advice}"


class _RepeatedKeyError(ValueError):
    """An object has the same key twice, of which JSON readers silently keep the last."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKeyError(
            f"an object has the key {next(name for name in names if names.count(name) > 1)!r} twice"
        )
    return row


def _rows_of_object(content: dict[str, Any]) -> tuple[Any, str]:
    """Return the rows of the objects that programs write in place of a list, and what shape it is."""
    values = list(content.values())
    audio = first_column(content, AUDIO_COLUMNS)
    if audio and isinstance(content[audio], str):
        return [content], ""
    if audio and all(isinstance(value, list) for value in values) and len({len(value) for value in values}) == 1:
        return [
            dict(zip(content, row, strict=True)) for row in zip(*values, strict=True)
        ], "it is a list for each column"
    if audio and all(isinstance(value, dict) for value in values):
        keys = dict.fromkeys(key for value in values for key in value)
        rows = [{name: column[key] for name, column in content.items() if key in column} for key in keys]
        return rows, "it is an object for each column"
    lists = [name for name, value in content.items() if isinstance(value, list) and value]
    if len(lists) == 1 and all(isinstance(row, dict) for row in content[lists[0]]):
        return content[lists[0]], f"its rows are under the key {lists[0]!r}"
    if values and all(isinstance(value, dict) for value in values):
        keyed = not any(folded(name) == "id" for value in values for name in value)
        return [({"id": key} if keyed else {}) | value for key, value in content.items()], "its rows are keyed by id"
    return content, ""


def _objects(rows: Any, path: Path) -> list[dict[str, Any]]:
    if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
        return rows
    kinds = f"; its keys are {shown_columns(list(rows))}" if isinstance(rows, dict) else ""
    raise ValueError(
        f"{path.name!r} must hold one object for each recording (a list of them, one a line, or "
        f'{{"root_path": ..., "samples": [...]}}){kinds}'
    )
