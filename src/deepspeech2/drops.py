"""The record of examples that training leaves out: counted by reason, each with its id."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from .batching import Row
from .checkpoints import write_whole

NUM_SHOWN = 3
NUM_LISTED = 20
MIN_DROPS = 10  # with fewer, whatever their share, a run goes on
ASKED_FOR = ("too_short", "too_long")  # bounds that the user has set; the others are faults of the data

Drop = dict[str, Any]


class DropLog:
    """
    The drops of one reader: `reason`, `corpus`, `id`, `detail` as a line of `folder/name.jsonl` (in memory
    alone if `folder` is None). What is dropped again, in a later epoch or after a resume, is one drop.

    `tally` counts rows read and those at fault as often as they are read. It is part of the reader's position, so that
    a resumed run stops where the uninterrupted one does; `window` is the last one whose rows are in it.
    """

    def __init__(self, folder: Path | None, name: str, *, resume: bool) -> None:
        self.drops: list[Drop] = []
        self.tally = {"window": -1, "rows": 0, "faults": 0}
        self._path = folder / f"{name}.jsonl" if folder is not None else None
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if resume:
                self.drops = list(_read(self._path))
                write_whole(self._path, "".join(map(_line, self.drops)))  # without a half-written end
            else:
                self._path.unlink(missing_ok=True)
        self._known = {_key(drop) for drop in self.drops}

    @property
    def counts(self) -> dict[str, int]:
        return dict(Counter(drop["reason"] for drop in self.drops))

    def add(self, reason: str, row: Row, detail: str, **more: Any) -> None:
        self.tally["faults"] += reason not in ASKED_FOR
        drop = {"reason": reason, "corpus": row.corpus, "id": row.example["id"], "detail": detail, **more}
        if _key(drop) in self._known:
            return
        self._known.add(_key(drop))
        self.drops.append(drop)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(drop))

    def end_window(self, window: int, num_rows: int, before: dict[str, int], max_share: float) -> None:
        """
        Takes a window's rows into the tally, which was `before`. A window that a resumed run reads again is in it.

        Raises:
            ValueError: more than `max_share` of the rows so far are at fault, and at least ten; with ids and reasons.
        """
        if window <= before["window"]:
            self.tally = before
            return
        self.tally |= {"window": window, "rows": before["rows"] + num_rows}
        rows, faults = self.tally["rows"], self.tally["faults"]
        found = [drop for drop in self.drops if drop["reason"] not in ASKED_FOR]
        if faults <= max_share * rows or len(found) < MIN_DROPS:
            return
        listed = "".join(f"\n  {drop['id']}: {drop['reason']}: {drop['detail']}" for drop in found[:NUM_LISTED])
        more = f"\n  and {len(found) - NUM_LISTED} more" if len(found) > NUM_LISTED else ""
        where = f"; {self._path} lists them" if self._path is not None else ""
        raise ValueError(
            f"{faults} of the {rows} utterances read so far ({faults / rows:.0%}) cannot be used, more than "
            f"max_dropped_share {max_share}: mend them, or raise it to train on the others{where}{listed}{more}"
        )


def _line(drop: Drop) -> str:
    return json.dumps(drop, ensure_ascii=False) + "\n"


def _key(drop: Drop) -> tuple[str, str]:
    return drop["corpus"], drop["id"]


def _read(path: Path) -> Iterable[Drop]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:  # splitlines would split ids, too
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return  # a run that was killed left half a line, its last


def _collect(folder: Path | None, logs: Iterable[DropLog], corpora: Collection[str]) -> list[Drop]:
    if folder is None:
        found = [drop for log in logs for drop in log.drops]
    else:
        found = [drop for path in sorted(folder.glob("*.jsonl")) for drop in _read(path)]
    return list({_key(drop): drop for drop in found if drop["corpus"] in corpora}.values())


def count_drops(folder: Path | None, logs: Iterable[DropLog], corpora: Collection[str]) -> dict[str, int]:
    """Drops by reason, the most frequent first, from the files of all readers, or `logs` without a folder."""
    return dict(Counter(drop["reason"] for drop in _collect(folder, logs, corpora)).most_common())


def summarize_drops(folder: Path | None, logs: Iterable[DropLog], corpora: Collection[str]) -> str:
    """One line: how many were dropped, why, some ids of each reason, and which characters were unknown."""
    by_reason: dict[str, list[Drop]] = defaultdict(list)
    characters: Counter[str] = Counter()
    for drop in _collect(folder, logs, corpora):
        by_reason[drop["reason"]].append(drop)
        characters.update(drop.get("characters", {}))
    if not by_reason:
        return "nothing was dropped"
    parts = []
    for reason, drops in sorted(by_reason.items(), key=lambda entry: -len(entry[1])):
        examples = ", ".join(drop["id"] for drop in drops[:NUM_SHOWN])
        if reason == "unknown_characters":
            shown = ", ".join(f"{character!r} x{count}" for character, count in characters.most_common(10))
            examples = f"{shown}; {examples}"
        parts.append(f"{len(drops)} {reason} ({examples}{', ...' if len(drops) > NUM_SHOWN else ''})")
    where = f"; listed in {folder}" if folder is not None else ""
    return f"dropped {sum(map(len, by_reason.values()))} utterances: {'; '.join(parts)}{where}"
