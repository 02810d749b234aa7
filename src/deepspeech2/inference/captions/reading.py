"""
Read the captions of others: SRT, WebVTT and YouTube's SBV.

Whatever has a line of times is a cue, or is left out with a reason. Text without times is left out too.
"""

import codecs
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from .cues import Cue

KINDS = (".srt", ".vtt", ".sbv")
# Formats that are recognised, by the ending of the name and by how the content begins.
FOREIGN = {
    "Advanced SubStation": ((".ass", ".ssa"), r"\[Script Info\]"),
    "TTML": ((".ttml", ".dfxp"), r"<\?xml|<tt[\s>]"),
    "SAMI": ((".smi", ".sami"), r"<sami"),
    "MicroDVD": ((".sub",), r"\{\d+\}\{\d+\}"),
    "LRC": ((".lrc",), r"\[\d+:\d+\.\d+\]|\[(?:ti|ar|al|by):"),
    "SCC": ((".scc",), r"Scenarist_SCC"),
    "EBU STL": ((".stl",), r"\d{3}STL"),
    "a web page": ((), r"<!doctype html|<html"),
}
_TIME = r"-?\s?\d+(?:\s?[:：]\s?\d+){1,3}(?:\s?[.,，]\s?\d+)?"
TIMES = re.compile(rf"\s*({_TIME})\s*(?:[-–—]\s?){{1,3}}>\s*({_TIME})(?:\s.*)?$")
SBV_TIMES = re.compile(r"\s*(\d+:\d\d:\d\d\.\d+),(\d+:\d\d:\d\d\.\d+)\s*$")
BAD_TIMES = re.compile(r"(?=.*\d\s?[:：]\s?\d).*(?:-->|[–—]>)")  # meant to be times, but not readable
NOT_CUES = re.compile(r"(?:WEBVTT|NOTE|STYLE|REGION)(?:\s|$)")  # blocks of a WebVTT file
WORD_TIME = re.compile(r"<\d+:[\d:.]*>")  # YouTube's automatic captions have them inside their lines
READINGS = re.compile(r"<rt>.*?</rt>", re.DOTALL)  # how the characters before are pronounced
TAGS = re.compile(r"</?[A-Za-z][^>]*>|<\d[\d:.]*>|\{\\[^}]*\}")
ENTITIES = re.compile(r"&(?:#\d+|#[xX][0-9A-Fa-f]+|\w+);")
ROLLING_SHARE = 0.5  # of the cues of several lines
TOUCHING_S = 0.1


class LeftOut(NamedTuple):
    """A part of a file that is no cue, and the reason in one word. Without readable times they are None."""

    reason: str
    text: str
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Captions:
    """The cues of a file in the order of their times, what is left out of it, and what was changed."""

    cues: list[Cue]
    left_out: list[LeftOut]
    notes: list[str]


def parse_captions(text: str) -> Captions:
    """
    Read SRT, WebVTT or SBV. Tags, settings, notes and styles are removed.

    A cue of SRT ends at the next line of times: empty lines are part of it, the number before the times is not. A cue
    of WebVTT ends at an empty line, as the standard says, and a line of one space is text. A cue that begins before 0
    begins at 0. Rolling captions, which repeat the line before, are unrolled.

    Raises:
        ValueError: there is no cue, or the text has another format.
    """
    text = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}").replace("\r\n", "\n").replace("\r", "\n")
    _refuse_foreign(text)
    cues: list[Cue] = []
    left_out: list[LeftOut] = []
    early = 0
    for times, lines in _blocks(text):
        content = _shown(lines)
        found = (TIMES.match(times) or SBV_TIMES.match(times)) if times is not None else None
        start_s, end_s = (_seconds(found[1]), _seconds(found[2])) if found else (None, None)
        if times is None:
            left_out.append(LeftOut("no_times", content))
        elif start_s is None or end_s is None:
            left_out.append(LeftOut("bad_times", f"{times.strip()} {content}"))
        elif end_s < start_s:
            left_out.append(LeftOut("ends_before_it_begins", content, start_s, end_s))
        elif end_s <= 0 and start_s < 0:
            left_out.append(LeftOut("before_the_recording", content, start_s, end_s))
        else:
            early += start_s < 0
            cues.append(Cue(max(start_s, 0.0), end_s, content))
    if not cues and not left_out:
        raise ValueError(
            "there are no cues; expected SRT or WebVTT, with lines such as '00:00:01,000 --> 00:00:03,500'"
        )
    cues.sort(key=lambda cue: cue.start_s)
    notes = [f"{early} cue(s) begin before 0, and are taken from 0"] if early else []
    if bool(WORD_TIME.search(text)) or _is_rolling(cues):
        cues, repeated = _unrolled(cues)
        notes += [f"rolling captions: {repeated} repeated line(s) removed"] if repeated else []
    return Captions(cues, left_out, notes)


def _refuse_foreign(text: str) -> None:
    for name, (_, begins) in FOREIGN.items():
        if re.match(begins, text.lstrip(), re.IGNORECASE):
            raise ValueError(f"this is {name}; expected SRT, WebVTT or SBV{_advice(name)}")


def _advice(name: str) -> str:
    return "" if name == "a web page" else ". Convert it to SRT, for example with Subtitle Edit, ffmpeg or pysubs2"


def _blocks(text: str) -> Iterator[tuple[str | None, list[str]]]:
    """Yield each line of times with the lines of its text, and None with lines that have no times."""
    lines = text.split("\n")
    is_vtt = lines[0].startswith("WEBVTT")
    if is_vtt:
        lines = _without_notes(lines)
    places = [
        place for place, line in enumerate(lines) if any(one.match(line) for one in (TIMES, SBV_TIMES, BAD_TIMES))
    ]
    number = None
    times: str | None = None
    for start, end in pairwise([-1, *places, len(lines)]):
        body = lines[start + 1 : end] if start >= 0 else ["", *lines[:end]]
        if end < len(lines):
            body, number = _without_number(body, number, any_name=is_vtt)
        stray: list[str] = []
        if times is None:
            body, stray = [], body
        elif is_vtt and "" in body:
            body, stray = body[: body.index("")], body[body.index("") :]
        if times is not None:
            yield times, body
        if any(line.strip() for line in stray):
            yield None, stray
        times = lines[end] if end < len(lines) else None


def _without_notes(lines: Sequence[str]) -> list[str]:
    """Empty the header, the notes, the styles and the regions of a WebVTT file. A line of times ends the header."""
    made: list[str] = []
    inside, header = False, True
    for before, line in pairwise(["", *lines]):
        header = header and bool(line) and TIMES.match(line) is None
        inside = bool(line) and (inside or (not before and not header and NOT_CUES.match(line) is not None))
        made.append("" if inside or header else line)
    return made


def _without_number(body: list[str], last: int | None, *, any_name: bool) -> tuple[list[str], int | None]:
    """
    Return lines without the number, or any other name of one line, of the cue whose times follow them, and the number.

    A number is the last of the lines. It stands alone before the times, or it is the next one after `last`.
    """
    place = max((place for place, line in enumerate(body) if line.strip()), default=-1)
    if place < 0:
        return body, last
    line = body[place].strip()
    alone = place == len(body) - 1 and place > 0 and not body[place - 1].strip()
    number = int(line) if line.isdecimal() else None
    if number is not None and (alone or number == (last or 0) + 1):
        return body[:place], number
    if any_name and alone and not body[place - 1]:
        return body[:place], last
    return body, last


def _shown(lines: Sequence[str]) -> str:
    """Return the text that a player shows, without tags, with the characters of entities, without empty lines."""
    text = TAGS.sub("", READINGS.sub("", "\n".join(lines)))
    text = text.replace("\\N", "\n").replace("\\h", " ")  # as Advanced SubStation writes them
    text = ENTITIES.sub(lambda found: html.unescape(found[0]), text)
    return "\n".join(line.strip() for line in text.split("\n") if line.strip())


def _seconds(text: str) -> float | None:
    """Return a time in seconds, with or without hours, or None if it is none. A colon may stand before milliseconds."""
    parts = re.split(r"[:：.,，]", text.replace("-", "").replace(" ", ""))
    fraction = parts.pop() if re.search("[.,，]", text) or (len(parts) == 4 and len(parts[-1]) == 3) else "0"
    if len(parts) > 3 or int(parts[-1]) >= 60:
        return None
    value = sum(int(one) * 60**power for power, one in enumerate(reversed(parts))) + int(fraction) / 10 ** len(fraction)
    return -value if text.strip().startswith("-") else value


def _repeated_lines(before: Cue, cue: Cue) -> int:
    """Return how many lines of a cue the one before it shows last, if it follows without a gap."""
    old, new = before.text.split("\n"), cue.text.split("\n")
    if not cue.text or cue.start_s > before.end_s + TOUCHING_S:
        return 0
    return next((count for count in range(min(len(old), len(new)), 0, -1) if old[-count:] == new[:count]), 0)


def _is_rolling(cues: Sequence[Cue]) -> bool:
    """Return whether most of the cues of several lines begin with the last line of the cue before them."""
    several = [(before, cue) for before, cue in pairwise(cues) if "\n" in cue.text]
    repeating = sum(
        0 < _repeated_lines(before, cue) < len(set(cue.text.split("\n"))) for before, cue in several
    )  # a cue whose lines are all the same says them so often
    return repeating > 1 and repeating >= ROLLING_SHARE * len(several)


def _unrolled(cues: Sequence[Cue]) -> tuple[list[Cue], int]:
    """Return rolling captions with each line once, and the number of lines that were removed."""
    made: list[Cue] = []
    removed = 0
    for before, cue in pairwise([Cue(0.0, 0.0, ""), *cues]):
        count = _repeated_lines(before, cue)
        removed += count
        text = "\n".join(cue.text.split("\n")[count:])
        if text or not count:
            made.append(cue._replace(text=text))
    return made, removed


def read_captions(path: Path) -> Captions:
    """
    Read a file with `parse_captions`: UTF-8, or UTF-16.

    Raises:
        ValueError: the file has another encoding, or `parse_captions` fails. The message names the file.
    """
    raw = path.read_bytes()
    encoding = "utf-8-sig"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif raw[:2].count(0) == 1:  # a Latin letter or a digit in UTF-16 without a mark of its byte order
        encoding = "utf-16-be" if raw[0] == 0 else "utf-16-le"
    try:
        return parse_captions(raw.decode(encoding))
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ValueError(
            f"the captions {str(path)!r} are not in UTF-8 (byte 0x{raw[error.start]:02x} in line {line}). "
            f"Convert them: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW; WINDOWS-1250 is for Central "
            "Europe, WINDOWS-1251 for Cyrillic"
        ) from error
    except ValueError as error:
        raise ValueError(f"the captions {str(path)!r}: {error}") from error


def find_captions(media: Path) -> Path:
    """
    Find the captions next to a recording: for talk.mp4 talk.srt, talk.vtt or talk.sbv, or one file such as talk.en.srt.

    Raises:
        ValueError: there are no captions, or several, or only some in another format.
    """
    folder = media.parent
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    beside = {name: name[len(media.stem) :].lower() for name in names if name.startswith(f"{media.stem}.")}
    exact = [folder / name for name, ending in beside.items() if ending in KINDS]
    others = [folder / name for name, ending in beside.items() if ending.endswith(KINDS)]
    if len(exact) == 2 and read_captions(exact[0]).cues == read_captions(exact[1]).cues:  # as `transcribe` writes them
        exact = exact[:1]
    found = exact or others
    if len(found) != 1:
        foreign = [
            f"; {name} is {kind}{_advice(kind)}"
            for name, ending in beside.items()
            for kind, (endings, _) in FOREIGN.items()
            if ending.endswith(endings or "/")
        ]
        raise ValueError(
            f"{str(media)!r} needs one file of captions next to it, {media.stem}.srt or {media.stem}.vtt; found "
            f"{', '.join(path.name for path in found) or 'none'}{''.join(foreign)}"
        )
    return found[0]
