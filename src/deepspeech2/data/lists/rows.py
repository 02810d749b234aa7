"""Rows of any corpus to the rows that all corpora have: the recording still encoded, a text, an id, a speaker."""

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import soundfile
from datasets import Audio, ClassLabel, Features, LargeList, List, Value

from ...system.files import printable
from ..audio.recordings import OUTSIDE
from .cells import (
    Span,
    kind,
    label,
    seconds,
    short,
    shown,
    span,
    span_columns,
    transcript,
    with_span,
)
from .columns import ID_COLUMNS, SPEAKER_COLUMNS, first_column
from .folders import KEPT
from .places import is_url, locate
from .tables import read_text

FEATURES = Features(
    {
        # A part of the file from start_s to end_s; None: from its beginning, to its end.
        "audio": {
            "bytes": Value("binary"),
            "path": Value("string"),
            "start_s": Value("float64"),
            "end_s": Value("float64"),
        },
        "text": Value("string"),
        "id": Value("string"),
        "speaker_id": Value("string"),
        "fault": Value("string"),  # "reason: detail" of a row that cannot be used, or None
    }
)
RATE_COLUMNS = ("sampling_rate", "sample_rate", "sr", "rate")
# The protocols of recordings inside an archive: "zip://a.flac::hf://datasets/owner/name@commit/a.zip".
ARCHIVES = ("zip://", "tar://", "gzip://", "bz2://", "xz://", "zstd://", "lz4://")


@dataclass(frozen=True)
class Fields:
    """
    The columns of a corpus, and how its rows are made.

    Args:
        audio, text, id, speaker: their columns; None where there is none.
        rate: the column of the sampling rate, for samples without one of their own.
        kept: other columns to keep.
        roots: the folders or the repository that the recordings must be in; None allows any.
        listed: whether the rows are of a list of ours.
        names: the names of the classes of the text column, if it is a class label.
        same_path: whether the encoded recordings have one path, such as audio.wav, so that it is no name.
    """

    audio: str
    text: str | None
    id: str | None
    speaker: str | None
    rate: str | None = None
    kept: tuple[str, ...] = ()
    roots: tuple[str, ...] | None = None
    listed: bool = False
    names: tuple[str, ...] = ()
    same_path: bool = False

    def canonical(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the row in the form of `FEATURES`, with the kept columns."""
        faults = [row["fault"]] if self.listed and row["fault"] else []
        try:
            recording = _recording(row[self.audio], row[self.rate] if self.rate else None)
        except ValueError as error:
            recording = {"bytes": None, "path": None}
            faults.append(f"undecodable: {error}")
        content, path = recording["bytes"], recording["path"]
        part = self._span(row, faults)
        if self.listed and row["name"] is not None:
            path = os.fsdecode(row["name"])
        name = label(row[self.id]) if self.id else None
        if name is None:
            # The place in the stream and the shard can change. The recording does not.
            named = path and not (self.same_path and content is not None)
            name = short(with_span(printable(path), part)) if named else _digest(content, row)
        if content is None and path is not None:
            content, path = self._found(path)
        text = self._text(row, faults)
        return {
            "audio": {"bytes": content, "path": path} | part._asdict(),
            "text": text,
            "id": name,
            "speaker_id": (label(row[self.speaker]) if self.speaker else None) or "",
            "fault": faults[0] if faults else None,
            **{column: label(row[KEPT + column if self.listed else column]) or "" for column in self.kept},
        }

    def _span(self, row: dict[str, Any], faults: list[str]) -> Span:
        if self.listed:
            return Span(row["start_s"], row["end_s"])
        # Columns beside recordings that are in the corpus tell where a clip was cut from.
        if not isinstance(row[self.audio], str):
            return Span()
        part, fault = span(row, span_columns(list(row)))
        if fault:
            faults.append(f"bad_span: {fault}")
        return part

    def _found(self, path: str) -> tuple[bytes | None, str]:
        """
        Return the content of a file, if its name cannot be written into a table, and the path of the others.

        Names that are not UTF-8 have surrogates in Python, and Arrow takes none.
        """
        if self.roots is not None:
            path = inside(path, *self.roots)
        found = locate(path)
        if found != path and self.roots is not None:
            found = inside(found, *self.roots)  # a backslash is part of a name until it is read as Windows does
        path = found
        if printable(path) == path or is_url(path) or not os.path.isfile(path):
            return None, printable(path)
        return Path(path).read_bytes(), printable(path)

    def _text(self, row: dict[str, Any], faults: list[str]) -> str | None:
        if self.text is None:
            return None
        if self.listed and (name := row["text_path"]):
            name = name if self.roots is None else inside(name, *self.roots)
            try:
                return read_transcript(name)
            except ValueError as error:
                faults.append(f"missing_text: {error}")
                return None
        value = row[self.text]
        if self.names and isinstance(value, int) and not isinstance(value, bool):
            value = self.names[value] if 0 <= value < len(self.names) else None
        text, fault = transcript(value)
        # The transcripts of a list were looked at when it was read, all together.
        if fault and not self.listed:
            faults.append(fault)
        return value if self.listed else text


def fields_of(columns: Sequence[str], features: Features | None, audio: str, text: str | None, title: str) -> Fields:
    """
    Return the columns of a corpus that is no list of ours, after a check of their types, as far as they are known.

    Raises:
        ValueError: the column of the recordings or of the transcripts holds something else.
    """
    rate = first_column(columns, RATE_COLUMNS)
    names: tuple[str, ...] = ()
    if features:
        _check_recordings(features[audio], rate, audio, title)
        if text is not None:
            names = _check_texts(features[text], text, title)
    return Fields(
        audio, text, first_column(columns, ID_COLUMNS), first_column(columns, SPEAKER_COLUMNS), rate, names=names
    )


def _check_recordings(feature: Any, rate: str | None, column: str, title: str) -> None:
    fields = set(feature) if isinstance(feature, dict) else set()
    known = isinstance(feature, Audio) or bool(fields & {"bytes", "path"}) or {"array", "sampling_rate"} <= fields
    if isinstance(feature, Value):
        known = feature.dtype in (
            "binary",
            "large_binary",
            "string",
            "large_string",
            "string_view",
            "binary_view",
            "null",
        )
    if isinstance(feature, List | LargeList):
        if rate is not None:
            return
        raise ValueError(
            f"the column {column!r} of {title} holds lists of numbers without a sampling rate; write "
            "{'array': ..., 'sampling_rate': ...}, or a column sampling_rate beside it, or encode the recordings "
            "(datasets: cast_column with Audio)"
        )
    if not known:
        raise ValueError(
            f"the column {column!r} of {title} holds {_type(feature)}; expected recordings: their encoded bytes, their "
            "paths, {'bytes', 'path'}, or {'array', 'sampling_rate'}. Name the right one with audio_column"
        )


def _check_texts(feature: Any, column: str, title: str) -> tuple[str, ...]:
    if isinstance(feature, ClassLabel):
        return tuple(feature.names)
    if isinstance(feature, Value) and feature.dtype in ("string", "large_string", "string_view", "null"):
        return ()
    raise ValueError(
        f"the column {column!r} of {title} holds {_type(feature)}; expected strings. Name the right one with "
        "text_column"
    )


def _type(feature: Any) -> str:
    if isinstance(feature, Value):
        return f"values of the type {feature.dtype}"
    return "lists" if isinstance(feature, List | LargeList) else f"values of the type {shown(feature)}"


def _recording(value: Any, rate: Any) -> dict[str, Any]:
    """
    Return the bytes and the path of a recording in any of the forms that tables hold.

    Raises:
        ValueError: it is in no known form, or its samples have no sampling rate.
    """
    if isinstance(value, bytes):
        return {"bytes": value, "path": None}
    if isinstance(value, dict) and value.get("array") is not None:
        own = value.get("sampling_rate")
        return {"bytes": _encoded(value["array"], rate if own is None else own), "path": value.get("path")}
    if isinstance(value, dict):
        value = {"bytes": value.get("bytes"), "path": value.get("path")}
        if all(one is None or isinstance(one, kinds) for one, kinds in zip(value.values(), (bytes, str), strict=True)):
            return value
    elif value is None or isinstance(value, str):
        return {"bytes": None, "path": value or None}
    elif isinstance(value, list | np.ndarray):
        return {"bytes": _encoded(value, rate), "path": None}
    raise ValueError(
        f"the recording is {kind(value)}, {shown(value)}; expected bytes, a path, or samples and their rate"
    )


def _encoded(samples: Any, rate: Any) -> bytes:
    """Return samples (N,), or of several channels (C, N) or (N, C), as a WAV file. Whole numbers are of 16 bits."""
    rate_hz = seconds(rate)
    if rate_hz is None or rate_hz <= 0 or rate_hz != int(rate_hz):
        raise ValueError(f"the sampling rate of the samples is {shown(rate)}; expected a whole number of Hz")
    try:
        array = np.asarray(samples)
        whole = array.dtype.kind in "iu" and array.size > 0
        array = array.astype(np.int64 if whole else np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the recording is no array of samples: {shown(samples)}") from error
    if array.ndim not in (1, 2) or (whole and np.abs(array).max() > 2**15):
        raise ValueError(f"samples of the shape {array.shape} cannot be read; expected (N,), floats or 16-bit integers")
    if array.ndim == 2 and array.shape[0] < array.shape[1]:
        array = array.T
    file = io.BytesIO()
    array = array.clip(-(2**15), 2**15 - 1).astype(np.int16) if whole else array
    soundfile.write(file, array, int(rate_hz), format="WAV", subtype="PCM_16" if whole else "FLOAT")
    return file.getvalue()


def _digest(content: bytes | None, row: dict[str, Any]) -> str:
    if content is not None:
        return hashlib.sha1(content).hexdigest()
    return hashlib.sha1(repr(sorted((key, shown(value)) for key, value in row.items())).encode()).hexdigest()


def inside(path: str, *roots: str) -> str:
    """
    Return the path of a file in one of the `roots` or in an archive there; relative paths start at the first.

    Other files are marked, and refused when they are read.
    """
    *inner, file = path.split("::")
    if "://" not in file and not file.startswith("/"):
        file = f"{roots[0]}/{file}"
    archived = all(one.startswith(ARCHIVES) for one in inner)
    for root in roots:
        below = file.removeprefix(f"{root}/")
        if archived and below != file and ".." not in PurePosixPath(below).parts:
            return "::".join([*inner, file])
    return OUTSIDE + path


def read_transcript(path: str) -> str:
    """
    Return the text of a file.

    Raises:
        ValueError: it does not exist, is outside the corpus, or is no text.
    """
    if path.startswith(OUTSIDE):
        raise ValueError(f"the file of the transcript, {path.removeprefix(OUTSIDE)!r}, lies outside its corpus")
    found = next((one for one in (path, path.replace("\\", "/")) if os.path.isfile(one)), None)
    if found is None:
        raise ValueError(f"the file of the transcript, {path!r}, does not exist")
    try:
        return read_text(Path(found)).strip()
    except ValueError as error:
        raise ValueError(f"the file of the transcript, {path!r}: {error}") from error
