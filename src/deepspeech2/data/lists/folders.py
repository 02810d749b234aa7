"""Folders of recordings as rows: recordings without a list, the official LibriSpeech tree, Kaldi's data folders."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...system.files import printable
from .cells import Span, short, with_span
from .places import is_recording

logger = logging.getLogger(__name__)

ListRow = dict[str, Any]
KALDI = "wav.scp"
KEPT = "kept:"  # before the name of a column that the user wants to keep, in the keys of a row


def new_row(audio: str | None, **more: Any) -> ListRow:
    """Return a row with all keys that a row of a list has: the path of a recording, and `more`."""
    row = dict.fromkeys(("text", "text_path", "id", "speaker_id", "start_s", "end_s", "fault"))
    return {"audio": audio} | row | more


def read_recordings(root: Path, split: str) -> list[ListRow]:
    """Return rows of recordings without metadata: those in the folder `split`, or in `root`."""
    folder = root / split if os.path.isdir(root / split) else root
    return [
        new_row(str(path.absolute()), id=short(printable(str(path.relative_to(folder)))))
        for path in sorted(folder.rglob("*"))
        if is_recording(path.name)
    ]


def find_transcripts(root: Path) -> Iterator[Path]:
    """Yield LibriSpeech's files of transcripts, `*.trans.txt` in any letter case."""
    return root.rglob("*.[tT][rR][aA][nN][sS].[tT][xX][tT]")


def has_librispeech_tree(root: Path) -> bool:
    return next(find_transcripts(root), None) is not None


def read_librispeech(root: Path, config: str | None, split: str) -> list[ListRow]:
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
    rows = [row for transcripts in sorted(find_transcripts(folder)) for row in _chapter(transcripts)]
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
    found = {path.relative_to(root).parts[:-3] for path in find_transcripts(root)}
    return sorted("/".join(parts) or "." for parts in found)


def _chapter(transcripts: Path) -> Iterator[ListRow]:
    recordings = {path.stem: path for path in sorted(transcripts.parent.iterdir()) if is_recording(path.name)}
    for line in _lines(transcripts):
        name, text = [*line.strip().split(maxsplit=1), ""][:2]
        # A missing recording is dropped with a reason when it is read.
        audio = recordings.get(name, transcripts.parent / f"{name}.flac")
        yield new_row(str(audio.absolute()), text=text, id=name, speaker_id=name.partition("-")[0])


def _lines(path: Path) -> list[str]:
    text = path.read_bytes().decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return [line for line in text.split("\n") if line.strip()]


def read_kaldi(folder: Path, transcribed: bool) -> list[ListRow]:
    """
    Read the rows of a data folder of Kaldi: wav.scp, text, and if they exist segments and utt2spk.

    An entry of wav.scp that is a command (it ends in `|`) is not executed. It is dropped with a reason. Names of
    recordings are returned as they are in wav.scp.

    Raises:
        ValueError: all entries are commands, a segment is no `utterance recording start end`, or there is no text.
    """
    recordings = _map(folder / KALDI)
    commands = {name: entry for name, entry in recordings.items() if entry.endswith("|")}
    if commands and len(commands) == len(recordings):
        name, entry = next(iter(commands.items()))
        raise ValueError(
            f"the entries of {str(folder / KALDI)!r} are commands, such as {entry!r} of {name!r}. Commands are not "
            "executed: write the recordings to files, and list those"
        )
    texts = _map(folder / "text") if transcribed else {}
    if transcribed and not texts:
        raise ValueError(f"{str(folder / 'text')!r} has no transcripts; expected lines of an id and its text")
    speakers = _map(folder / "utt2spk")
    segments = _segments(folder / "segments") if (folder / "segments").is_file() else None
    parts = segments or {name: (name, Span()) for name in recordings}
    if unused := [name for name in texts if name not in parts]:
        logger.warning("%s has %d transcripts without a recording, such as %s", folder / "text", len(unused), unused[0])
    rows = []
    for name, (recording, span) in parts.items():
        fault = None
        if recording in commands:
            fault = (
                f"missing_file: the entry of {recording!r} is a command, which is not executed: {commands[recording]}"
            )
        rows.append(
            new_row(
                None if fault else recordings.get(recording),
                text=texts.get(name),
                id=short(name) or with_span(recording, span),
                speaker_id=speakers.get(name),
                start_s=span.start_s,
                end_s=span.end_s,
                fault=fault,
            )
        )
    return rows


def _map(path: Path) -> dict[str, str]:
    """Return the rest of each line of a file by its first word; nothing if the file does not exist."""
    lines = _lines(path) if path.is_file() else []
    pairs = (line.strip().split(maxsplit=1) for line in lines)
    return {pair[0]: pair[1] if len(pair) == 2 else "" for pair in pairs}


def _segments(path: Path) -> dict[str, tuple[str, Span]]:
    segments = {}
    for number, line in enumerate(_lines(path), 1):
        try:
            name, recording, start, end = line.split()[:4]
            segments[name] = (recording, Span(float(start), None if float(end) < 0 else float(end)))  # -1: to the end
        except ValueError as error:
            raise ValueError(
                f"line {number} of {str(path)!r} is {line[:80]!r}; expected an utterance, its recording, start and end "
                "in seconds"
            ) from error
    return segments
