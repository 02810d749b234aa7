"""The journal of a labelling run: every transcript as soon as it is made, so that a killed run goes on where it was."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...system.files import write_whole
from .clips import Clip, Cut

logger = logging.getLogger(__name__)


class Label(NamedTuple):
    """A clip with the teacher's transcript."""

    clip: Clip
    text: str
    confidence: float


class Journal:
    """
    The transcripts of a run so far, in `NAME.journal-RANK.jsonl` beside the table NAME.csv. Each process writes its own
    file. All files are read, so that a run can go on with another number of processes.

    Args:
        output_file: the table.
        settings: what the transcripts depend on.
        rank: the number of this process.

    Raises:
        ValueError: a file is of a run with other settings, or is no journal.
    """

    def __init__(self, output_file: Path, settings: Mapping[str, Any], rank: int = 0) -> None:
        self.labels: dict[str, Label] = {}
        self.cuts: dict[str, Cut] = {}
        self._path = output_file.with_name(f"{output_file.stem}.journal-{rank}.jsonl")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._first = json.dumps({"settings": dict(settings)}, ensure_ascii=False)
        prefix = f"{output_file.stem}.journal-"
        for path in sorted(self._path.parent.iterdir()):
            if path.name.startswith(prefix) and path.suffix == ".jsonl":
                lines = list(_whole_lines(path))
                self._read(path, lines, settings)
                if path == self._path:
                    write_whole(path, "".join(f"{line}\n" for line in lines))  # without an incomplete last line
        if not self._path.exists() or not self._path.stat().st_size:
            write_whole(self._path, f"{self._first}\n")

    @property
    def done(self) -> set[str]:
        """The ids of all clips with a transcript, and of the long recordings that are done to their end."""
        return {*self.labels, *self.cuts}

    def add(self, labels: Sequence[Label], cuts: Sequence[Cut]) -> None:
        """Append a batch to this process's file."""
        lines = [{"clip": one.clip._asdict(), "text": one.text, "confidence": one.confidence} for one in labels]
        lines += [{"cut": one._asdict()} for one in cuts]
        self.labels |= {one.clip.id: one for one in labels}
        self.cuts |= {one.id: one for one in cuts}
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)

    def _read(self, path: Path, lines: Sequence[str], settings: Mapping[str, Any]) -> None:
        if not lines:  # killed before its first line was there
            return
        try:
            first, *rest = map(json.loads, lines)
            before = first["settings"]
            for one in rest:
                if "cut" in one:
                    self.cuts[one["cut"]["id"]] = Cut(**one["cut"])
                else:
                    self.labels[one["clip"]["id"]] = Label(Clip(**one["clip"]), one["text"], one["confidence"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{str(path)!r} is not a journal of this command ({error!r}); remove it") from error
        if changed := [
            f"{name} was {before.get(name)!r}, and is {value!r} now"
            for name, value in settings.items()
            if before.get(name) != value
        ]:
            raise ValueError(
                f"{str(path)!r} holds the transcripts of another run: {'; '.join(changed)}. Give the same values to go "
                "on, remove the file to start anew, or write to another --output_file"
            )


def _whole_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file, except one that a killed run has not ended."""
    yield from path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
