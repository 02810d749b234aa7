r"""
Where the recordings of a list are: relative names, `clips/` beside the list, names of other machines and of Windows.

A name is looked up as it is. Only if there is no such file are other spellings of it tried.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import PureWindowsPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ...system.files import printable
from ..audio.recordings import AUDIO_SUFFIXES
from .cells import kind, shown

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
    How a list's names become paths: relative ones start at `root`; `moved` from the first folder to the second; with
    another `ending`, because the recordings were converted after the list was written.

    Use `names_of` to make one.
    """

    root: str
    moved: tuple[str, str] | None = None
    ending: str = ""

    def path(self, name: str) -> str:
        """Return the path of a name, which may not exist (see `locate`), or the URL that the name is."""
        if self.ending and is_recording(name):
            name = os.path.splitext(name)[0] + self.ending
        name = name.removeprefix("{data_root}/").removeprefix("$data_root/")  # SpeechBrain's placeholder
        if name.startswith("file://"):
            name = unquote(urlsplit(name).path)
        if is_url(name):
            return name
        if self.moved and _is_below(plain := name.replace("\\", "/"), self.moved[0]):
            return self.moved[1] + plain[len(self.moved[0]) :]
        return name if ON_WINDOWS.match(name) else os.path.join(self.root, os.path.expanduser(name))


def names_of(values: Iterable[Any], root: str, audio_root: str, where: str) -> tuple[Names, list[str]]:
    """
    Return how the names of a list become paths, after a look at some of the files, and a remark if they are elsewhere.

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
        return Names(audio_root or root), []
    sample = names[:: -(-len(names) // LOOKED_AT)]
    candidates = [Names(os.path.abspath(os.path.expanduser(audio_root)))] if audio_root else []
    candidates += [Names(root), *_moves(names, root, audio_root)]
    for one in (replace(one, ending=ending) for ending in ("", *AUDIO_SUFFIXES) for one in candidates):
        if first := next((name for name in sample if os.path.isfile(locate(one.path(name)))), None):
            found = locate(one.path(first))
            plain = found == os.path.join(root, first)
            return one, [] if plain else [f"{printable(first)} is found at {printable(found)}"]
    raise ValueError(_none_exists(sample, candidates, audio_root, where))


def _moves(names: Sequence[str], root: str, audio_root: str) -> Iterator[Names]:
    """Yield the folders in `audio_root` where the common folder of the names may be now, the deepest first."""
    folders = zip(*(name.replace("\\", "/").split("/")[:-1] for name in names), strict=False) if audio_root else ()
    common = [of_names[0] for of_names in takewhile(lambda of_names: len(set(of_names)) == 1, folders)]
    for kept in range(len(common) + 1 if common else 0):
        tail = common[kept:]
        if tail[:1] != [""] and not ON_WINDOWS.match("/".join([*tail, ""])):  # both would leave audio_root
            yield Names(root, ("/".join(common), os.path.join(os.path.abspath(os.path.expanduser(audio_root)), *tail)))


def _is_below(name: str, folder: str) -> bool:
    return bool(folder) and name.startswith(f"{folder.rstrip('/')}/")


def _none_exists(sample: Sequence[str], tried: Sequence[Names], audio_root: str, where: str) -> str:
    first, (names, *_) = sample[0], tried
    windows = ""
    if ON_WINDOWS.match(first):
        windows = f" (a path of Windows, to the file '{PureWindowsPath(first).name}')"
    elif "\\" in first and "/" not in first:
        windows = " (a relative path of Windows)"
    places = " and ".join(dict.fromkeys(repr(printable(one.root)) for one in tried if one.moved is None))
    advice = "correct audio_root" if audio_root else "name the folder of the recordings: --audio_root FOLDER"
    return (
        f"no recording of {where} exists (looked for {len(sample)}). The first is '{printable(first)}'{windows}, but "
        f"'{printable(names.path(first))}' is not a file; relative paths start at {places}. Correct them, or {advice}"
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
