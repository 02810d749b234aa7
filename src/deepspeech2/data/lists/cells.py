"""The cells of a list: a transcript, an id, a span, or the fault that keeps a row from being used."""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ...system.files import printable
from .columns import DURATIONS, STARTS_AND_ENDS, STARTS_WITH_DURATION, first_column

MAX_ID = 200  # characters; longer ids end in a hash
MAX_SHOWN = 80  # characters of a cell in a message
# What programs write for a value that is missing. The second group are also words: they count only among sentences.
MISSING = ("nan", "<na>", "n/a", "#n/a", "-nan", "\\n")
MISSING_AMONG_SENTENCES = ("none", "null", "na", "nil", "undefined")
WORDS_OF_SENTENCES = 2  # the median number of words of a transcript, above which they are sentences


class Span(NamedTuple):
    """The part of a recording that a row is of, in seconds; None is the beginning or the end of the file."""

    start_s: float | None = None
    end_s: float | None = None


class Cell(NamedTuple):
    """A transcript, or None with the fault of the cell as `reason: detail` ("" if it is just absent)."""

    text: str | None
    fault: str = ""


def is_missing(value: Any) -> bool:
    """Return whether a cell is absent: None, or the NaN that programs write into JSON."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def transcript(value: Any, among_sentences: bool = False) -> Cell:
    """
    Return a transcript. What is no string is none: its spelling by a program is not what was said.

    Args:
        value: the cell.
        among_sentences: whether the other transcripts are sentences, so that a bare "None" is no word.
    """
    if is_missing(value):
        return Cell(None)
    if not isinstance(value, str):
        return Cell(None, f"not_text: the transcript is {kind(value)}, {shown(value)}; expected a string")
    word = value.strip().casefold()
    if word in MISSING or (among_sentences and word in MISSING_AMONG_SENTENCES):
        return Cell(
            None, f"missing_text: the transcript is {value.strip()!r}, which programs write for a missing value"
        )
    return Cell(re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", value))  # no file can hold lone surrogates


def are_sentences(values: Iterable[Any]) -> bool:
    """Return whether the transcripts are sentences, by the median number of their words."""
    counts = sorted(len(value.split()) for value in values if isinstance(value, str) and value.strip())
    return bool(counts) and counts[len(counts) // 2] > WORDS_OF_SENTENCES


def kind(value: Any) -> str:
    """Return what a value is, in words for a message."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, bytes):
        return "bytes"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, Sequence) else type(value).__name__


def shown(value: Any) -> str:
    """Return a value for a message, shortened."""
    if isinstance(value, list) and len(value) > MAX_SHOWN:
        value = value[:MAX_SHOWN]  # a list of samples has millions
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def label(value: Any) -> str | None:
    """Return an id, a speaker or another label as a string. None if it is absent or empty."""
    if is_missing(value) or value == "":
        return None
    return short(printable(str(value)))


def short(name: str) -> str:
    """Return a name of at most `MAX_ID` characters. A longer one ends in a hash of the whole."""
    if len(name) <= MAX_ID:
        return name
    return f"{name[: MAX_ID - 17]}-{hashlib.sha1(name.encode()).hexdigest()[:16]}"


class SpanColumns(NamedTuple):
    """The columns of a span: its start, and its end or its duration."""

    start: str
    end: str | None
    duration: str | None


def span_columns(present: Sequence[str]) -> SpanColumns | None:
    """Return the columns that name a part of a recording, or None. A duration alone is about the whole file."""
    for start_name, end_name in STARTS_AND_ENDS:
        start, end = first_column(present, (start_name,)), first_column(present, (end_name,))
        if start and end:
            return SpanColumns(start, end, None)
    duration = first_column(present, DURATIONS)
    for name in STARTS_WITH_DURATION:
        if (start := first_column(present, (name,))) and (duration or name == "offset"):
            return SpanColumns(start, None, duration)
    return None


def span(row: Mapping[str, Any], columns: SpanColumns | None) -> tuple[Span, str]:
    """Return the span of a row, and its fault, or "" for none."""
    if columns is None:
        return Span(), ""
    names = [name for name in columns if name]
    values: dict[str, float] = {}
    for name in names:
        value = row.get(name)
        if is_missing(value) or value == "":
            continue
        number = seconds(value)
        if number is None:
            return Span(), f"{name} is {shown(value)}; expected a number of seconds"
        values[name] = number
    start, end = values.get(columns.start), values.get(columns.end or "")
    if start is None:
        return (Span(None, end), "") if end is not None else (Span(), "")
    if columns.duration in values:
        end = round(start + values[columns.duration or ""], 6)
    return Span(start, end), ""


def seconds(value: Any) -> float | None:
    """Return a finite number of seconds, or None if the value is none. Text may have a decimal comma."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value.strip().replace(",", ".") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def with_span(name: str, of: Span) -> str:
    """Return the name of a part of a recording, as a media fragment: `a.wav#t=1.5,3`."""
    if of == Span():
        return name
    return f"{name}#t={_figure(of.start_s or 0.0)}" + ("" if of.end_s is None else f",{_figure(of.end_s)}")


def _figure(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
