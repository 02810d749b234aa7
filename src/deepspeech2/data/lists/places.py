r"""
Where the recordings of a list are: relative names, `clips/` beside the list, names of other machines and of Windows.

A name is looked up as it is. Only if there is no such file are other spellings of it tried.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PureWindowsPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ..audio.recordings import AUDIO_SUFFIXES
from .cells import kind, printable, shown

# Recordings of the last formats cannot be read. They are listed, so that they are dropped with a reason.
RECORDING_SUFFIXES = (*AUDIO_SUFFIXES, ".m4a", ".aac", ".wma", ".amr", ".webm")
FOLDERS = ("clips", "wavs", "wav", "audio")  # of recordings, beside a list that gives only their names
LOOKED_AT = 200  # recordings of a list that are looked for before it is refused
ON_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # C:\, C:/ or \\server\


def is_recording(name: str) -> bool:
    """Return whether the name ends like a recording's, in any letter case."""
    return os.path.splitext(name)[1].lower() in RECORDING_SUFFIXES


def is_url(name: str) -> bool:
    return "://" in name


@dataclass(frozen=True)
class Names:
    """
    How a list's names become paths: relative ones start at `root`; `moved` from the first folder to the second.

    Use `names_of` to make one.
    """

    root: str
    moved: tuple[str, str] | None = None

    def path(self, name: str) -> str:
        """Return the path of a name, which may not exist (see `locate`), or the URL that the name is."""
        name = name.removeprefix("{data_root}/").removeprefix("$data_root/")  # SpeechBrain's placeholder
        if name.startswith("file://"):
            name = unquote(urlsplit(name).path)
        if is_url(name):
            return name
        if self.moved and _is_below(plain := name.replace("\\", "/"), self.moved[0]):
            return self.moved[1] + plain[len(self.moved[0]) :]
        return name if ON_WINDOWS.match(name) else os.path.join(self.root, os.path.expanduser(name))


def names_of(values: Iterable[Any], root: str, audio_root: str, where: str) -> Names:
    """
    Return how the names of a list become paths, after a look at some of the files.

    Args:
        values: the cells of the recordings.
        root: the absolute folder of the list.
        audio_root: the folder of the recordings, or "". If it is given, it comes first; paths of another machine are
            looked for below it, without the folders that they have in common.
        where: the list, for messages.

    Raises:
        ValueError: none of the recordings exists.
    """
    names = [value for value in values if isinstance(value, str) and value and not is_url(value)]
    if not names:
        return Names(audio_root or root)
    sample = names[:: -(-len(names) // LOOKED_AT)]
    candidates = [Names(os.path.abspath(os.path.expanduser(audio_root)))] if audio_root else []
    candidates += [Names(root), *_moves(names, root, audio_root)]
    found = next((one for one in candidates if any(_exists(one.path(name)) for name in sample)), None)
    if found is None:
        raise ValueError(_none_exists(sample, candidates, audio_root, where))
    return found


def _moves(names: Sequence[str], root: str, audio_root: str) -> Iterator[Names]:
    """Yield the folders of this machine where the common folder of absolute names may be now, the deepest first."""
    plain = [name.replace("\\", "/") if ON_WINDOWS.match(name) else name for name in names]
    absolute = [name for name in plain if name.startswith("/") or ON_WINDOWS.match(name)]
    if not audio_root or not absolute:
        return
    common = os.path.commonpath([os.path.dirname(name) for name in absolute]) if _same_top(absolute) else ""
    parts = common.split("/")
    for kept in range(len(parts)):
        tail = parts[kept:] if kept else parts[1:]
        yield Names(root, (common, os.path.join(os.path.abspath(os.path.expanduser(audio_root)), *tail)))
    yield Names(root, (common, os.path.abspath(os.path.expanduser(audio_root))))


def _same_top(names: Sequence[str]) -> bool:
    return len({name.split("/")[0] for name in names}) == 1


def _is_below(name: str, folder: str) -> bool:
    return bool(folder) and name.startswith(f"{folder.rstrip('/')}/")


def _exists(path: str) -> bool:
    return os.path.isfile(locate(path))


def _none_exists(sample: Sequence[str], tried: Sequence[Names], audio_root: str, where: str) -> str:
    first, (names, *_) = sample[0], tried
    windows = ""
    if ON_WINDOWS.match(first):
        windows = f" (a path of Windows, to the file {PureWindowsPath(first).name!r})"
    elif "\\" in first and "/" not in first:
        windows = " (a relative path of Windows)"
    places = " and ".join(dict.fromkeys(repr(printable(one.root)) for one in tried if one.moved is None))
    advice = "correct audio_root" if audio_root else "name the folder of the recordings: --audio_root FOLDER"
    return (
        f"no recording of {where} exists (looked for {len(sample)}). The first is {printable(first)!r}{windows}, but "
        f"{printable(names.path(first))!r} is not a file; relative paths start at {places}. Correct the paths, or {advice}"
    )


def locate(path: str) -> str:
    """
    Return the file that a path means: itself, or the same name in another spelling, or in a folder of clips.

    If there is none, the path itself.
    """
    if is_url(path) or os.path.isfile(path):
        return path
    return next((one for one in _spellings(path) if os.path.isfile(one)), path)


def _spellings(path: str) -> Iterator[str]:
    r"""Yield other spellings: `a\b.wav`, another normal form of Unicode, `.WAV`, no ending, and `clips/`."""
    for plain in dict.fromkeys([path, path.replace("\\", "/")]):
        folder, name = os.path.split(plain)
        forms = dict.fromkeys([name, name.strip(), *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))])
        endings = [one for form in forms for one in _endings(form)]
        for below in ("", *FOLDERS):
            yield from map(partial(os.path.join, folder, below), endings)


def _endings(name: str) -> Iterator[str]:
    yield name
    stem, suffix = os.path.splitext(name)
    if suffix.lower() in RECORDING_SUFFIXES:
        yield stem + suffix.upper()
        yield stem + suffix.lower()
    elif name:
        yield from (name + ending for ending in RECORDING_SUFFIXES)
        yield from (name + ending.upper() for ending in RECORDING_SUFFIXES)


def name_cell(value: Any) -> tuple[str | None, str]:
    """Return the name of a recording in a cell, and the fault of a cell that is none, or ""."""
    if isinstance(value, dict) and isinstance(value.get("path"), str):
        value = value["path"]
    if isinstance(value, str) or value is None:
        return value or None, ""
    return None, f"the recording is {kind(value)}, {shown(value)}; expected the name of a file"
