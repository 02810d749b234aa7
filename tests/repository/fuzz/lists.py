"""Lists of recordings of known content: the clips, the rows as they are meant, and the formats to write them in."""

import csv
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

import tiny

RATE = tiny.RATE
CLIPS = 6


def clip_name(index: int) -> str:
    return f"k{index}.wav"


def clip_s(index: int) -> float:
    """The duration of a clip; each has its own."""
    return 0.2 + 0.05 * index


@dataclass(frozen=True)
class Entry:
    """
    A row as it is meant.

    Args:
        id: its id, or the end of it where the list gives none.
        text: its transcript, or several that are right. None: there is none that could be used.
        duration_s: of the recording or the span. None: it cannot be used.
    """

    id: str
    text: str | tuple[str, ...] | None
    duration_s: float | None

    def allows(self, text: str) -> bool:
        return text in ((self.text,) if isinstance(self.text, str) else self.text or ())


@dataclass(frozen=True)
class Listed:
    """
    A list on the disk.

    Args:
        kind: what is odd about it.
        files: the content of each file, by its path in the folder.
        dataset: the path that is opened, in the folder.
        entries: what is in it.
        options: of `load_corpus`.
    """

    kind: str
    files: dict[str, bytes]
    dataset: str
    entries: Sequence[Entry]
    options: dict[str, str] = field(default_factory=dict)


def write_clips(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(CLIPS):
        soundfile.write(folder / clip_name(index), 0.1 * rng.standard_normal(round(RATE * clip_s(index))), RATE)


def words(rng: random.Random) -> str:
    return " ".join("".join(rng.choice("abcdefgh") for _ in range(rng.randint(1, 6))) for _ in range(rng.randint(1, 5)))


def plain_rows(rng: random.Random) -> list[dict[str, str]]:
    count = rng.randint(3, CLIPS)
    order = rng.sample(range(CLIPS), count)
    return [{"audio": clip_name(index), "text": words(rng), "id": f"id-{place}"} for place, index in enumerate(order)]


def entries_of(rows: Sequence[dict]) -> list[Entry]:
    return [Entry(row["id"], row["text"], clip_s(int(row["audio"][1]))) for row in rows]


def table(rows: Sequence[dict], delimiter: str = ",", **options: object) -> str:
    buffer = io.StringIO()
    options = {"lineterminator": "\n", "delimiter": delimiter} | options
    csv.writer(buffer, **options).writerows([list(rows[0]), *([*row.values()] for row in rows)])
    return buffer.getvalue()


def raw_table(rows: Sequence[dict], delimiter: str = ",") -> str:
    """Without any quotation."""
    return "".join(delimiter.join(cells) + "\n" for cells in [list(rows[0]), *([*row.values()] for row in rows)])


FORMATS: dict[str, Callable[[Sequence[dict]], str]] = {
    "csv": table,
    "tsv": lambda rows: raw_table(rows, "\t"),
    "json": json.dumps,
    "jsonl": lambda rows: "".join(f"{json.dumps(row)}\n" for row in rows),
}


def one_list(kind: str, suffix: str, content: str | bytes, entries: Sequence[Entry]) -> Listed:
    content = content.encode() if isinstance(content, str) else content
    return Listed(kind, {f"m.{suffix}": content}, f"m.{suffix}", entries)
