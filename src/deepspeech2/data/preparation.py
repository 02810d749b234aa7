"""One example on its way to the model: filters, labels, decoding, augmentation, and the padded batch."""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..system.files import write_whole
from .augmentation import draw_silences_s, surround, trim
from .batching import Row
from .corpora import FEATURES
from .recordings import AudioError, audio_duration_s, fetch_audio, is_remote, open_audio

if TYPE_CHECKING:
    from .augmentation import Augmentation

logger = logging.getLogger(__name__)

FETCHERS = 8
MAX_SHOWN = 200  # characters of a text in the record of drops
SILENT_RANGE = 1e-4  # between the highest and the lowest sample, three steps of 16 bits: -80 dB
Batch = dict[str, Any]
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


class DroppedError(Exception):
    """An example that a filter refuses."""

    def __init__(self, reason: str, detail: str, characters: Counter[str] | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail
        self.more = {"characters": dict(characters)} if characters else {}


@dataclass
class Item:
    """An example that passed the filters, its audio still encoded. `duration_s` is that after augmentation."""

    row: Row
    text: str
    labels: list[int]
    duration_s: float
    speed: float
    silences_s: tuple[float, float]
    rng: np.random.Generator


def needed_frames(labels: Sequence[int]) -> int:
    """Output frames that CTC needs to spell `labels`: one each, and a blank between two equal ones."""
    return len(labels) + sum(left == right for left, right in pairwise(labels))


def is_silent(samples: np.ndarray) -> bool:
    """Whether (samples,) hold no sound."""
    return bool(np.ptp(samples) < SILENT_RANGE)


@dataclass(frozen=True)
class Filters:
    """
    What training leaves out. `frames` gives the model's output frames for a number of samples.

    The bounds are in seconds and inclusive; no upper one if None.
    """

    frames: Callable[[int], int]
    min_duration_s: float = 0.0
    max_duration_s: float | None = None

    def check_duration(self, duration_s: float) -> None:
        if duration_s < self.min_duration_s:
            raise DroppedError("too_short", f"{duration_s:.3f} s is below {self.min_duration_s} s")
        if self.max_duration_s is not None and duration_s > self.max_duration_s:
            raise DroppedError("too_long", f"{duration_s:.3f} s is above {self.max_duration_s} s")

    def check_text(self, text: str, unknown: Counter[str]) -> None:
        if not text:
            raise DroppedError("empty_text", "no text, or none after normalisation")
        if unknown:
            raise DroppedError("unknown_characters", text[:MAX_SHOWN], unknown)

    def check_sound(self, samples: np.ndarray) -> None:
        """A transcript of nothing would teach the model to write words in silence."""
        if is_silent(samples):
            raise DroppedError("silent", f"samples from {samples.min():.1e} to {samples.max():.1e}")

    def check_frames(self, num_samples: int, labels: Sequence[int]) -> None:
        if not self.has_room(num_samples, labels):
            frames = self.frames(num_samples)
            raise DroppedError("ctc_infeasible", f"{frames} frames, but CTC needs {max(1, needed_frames(labels))}")

    def has_room(self, num_samples: int, labels: Sequence[int]) -> bool:
        return self.frames(num_samples) >= max(1, needed_frames(labels))


class Examples:
    """
    Prepares examples with a processor: for training with filters and augmentation, else with neither. Without
    `transcribed` no text is looked at: it is empty, and so are the labels. `trimmed`: without silence at the ends.
    """

    def __init__(
        self,
        processor: Any,
        filters: Filters | None = None,
        augmentation: "Augmentation | None" = None,
        transcribed: bool = True,
        trimmed: bool = False,
    ) -> None:
        self.processor, self.filters, self.augmentation = processor, filters, augmentation
        self.transcribed, self.trimmed = transcribed, trimmed
        self.sampling_rate: int = processor.feature_extractor.sampling_rate
        # What the references of an evaluation hold and the vocabulary lacks.
        self.unknown_characters: Counter[str] = Counter()
        self.unknown_ids: list[str] = []

    def warn_of_unknown_characters(self) -> None:
        """Once an evaluation is over."""
        unknown, ids = self.unknown_characters, list(dict.fromkeys(self.unknown_ids))
        if unknown:
            logger.warning(
                "%d references hold characters that the vocabulary lacks (%s; %s): the model cannot write them, and "
                "each such word counts as an error",
                len(ids),
                ", ".join(f"{character!r} x{count}" for character, count in unknown.most_common(10)),
                ", ".join(ids[:NUM_SHOWN]) + (", ..." if len(ids) > NUM_SHOWN else ""),
            )
            unknown.clear()
            self.unknown_ids.clear()

    def items(self, rows: Sequence[Row], key: Sequence[int], log: DropLog) -> list[Item]:
        """The examples that stay, in order; `log` gets the others. [*key, place] seeds their augmentation."""
        items = []
        for row, outcome in self.outcomes(rows, key):
            if isinstance(outcome, Item):
                items.append(outcome)
            else:
                log.add(outcome.reason, row, outcome.detail, **outcome.more)
        return items

    def outcomes(self, rows: Sequence[Row], key: Sequence[int]) -> Iterator[tuple[Row, "Item | DroppedError"]]:
        """Each row, in order, with its item or why there is none. What lies on a server is fetched side by side."""
        with ThreadPoolExecutor(FETCHERS) as pool:  # starts its threads only for what lies on a server
            fetched = {
                place: pool.submit(fetch_audio, row.example["audio"])
                for place, row in enumerate(rows)
                if is_remote(row.example["audio"])
            }
            try:
                for place, row in enumerate(rows):
                    try:
                        yield row, self._item(row, fetched.get(place), np.random.default_rng([*key, place]))
                    except DroppedError as dropped:
                        yield row, dropped
            finally:
                pool.shutdown(cancel_futures=True)  # else a server that is gone is waited for once for each recording

    def _item(self, row: Row, fetched: "Future[dict[str, Any]] | None", rng: np.random.Generator) -> Item:
        try:
            if fetched is not None:
                row = row._replace(example=row.example | {"audio": fetched.result()})
            duration_s = audio_duration_s(row.example["audio"])
        except AudioError as error:
            raise DroppedError(error.reason, str(error)) from error
        given = row.example["text"] if self.transcribed else ""
        if given is None:
            raise DroppedError("missing_text", "there is no transcript")
        text = self.processor.normalize_text(given)
        unknown = self.processor.unknown_characters(text)
        if self.filters is not None:
            self.filters.check_duration(duration_s)
            if self.transcribed:
                self.filters.check_text(text, unknown)
        elif unknown:
            self.unknown_characters.update(unknown)
            self.unknown_ids.append(row.example["id"])
        labels = self.processor.encode("".join(character for character in text if character not in unknown))
        num_samples, speed = round(duration_s * self.sampling_rate), 1.0
        silences_s = (0.0, 0.0)
        if self.filters is not None:
            self.filters.check_frames(num_samples, labels)
            if self.augmentation is not None:
                speed = self.augmentation.speed_factor(rng)
                # The resampler may round the other way: one sample of slack.
                if not self.filters.has_room(int(num_samples / speed) - 1, labels):
                    speed = 1.0
                silences_s = draw_silences_s(self.augmentation.args.silence_s, rng)
        return Item(row, text, labels, (duration_s + sum(silences_s)) / speed, speed, silences_s, rng)

    def batch(self, items: Sequence[Item], log: DropLog) -> Batch | None:
        """
        Decodes, augments and pads.

        Returns:
            `input_features` (B, T, F) float32, `attention_mask` (B, T) int64, `labels` (B, U) int64 padded
            with -100, and lists of B: `ids`, `speaker_ids`, `texts` (normalised), `durations_s` (after
            augmentation); `columns` (the kept columns of each). None where nothing could be decoded.
        """
        kept, clips = [], []
        for item in items:
            try:
                clips.append(self.clip(item))
                kept.append(item)
            except DroppedError as dropped:
                log.add(dropped.reason, item.row, dropped.detail)
        if not kept:
            return None
        inputs = self.processor.feature_extractor(clips, sampling_rate=self.sampling_rate, return_tensors="pt")
        features, mask = inputs["input_features"], inputs["attention_mask"].long()
        if self.augmentation is not None:
            for own, item, length in zip(features, kept, mask.sum(1).tolist(), strict=True):
                own[:length] = torch.from_numpy(self.augmentation.features(own[:length].numpy(), item.rng))
        labels = torch.full((len(kept), max(1, *(len(item.labels) for item in kept))), -100)
        for target, item in zip(labels, kept, strict=True):
            target[: len(item.labels)] = torch.tensor(item.labels)
        return {
            "input_features": features,
            "attention_mask": mask,
            "labels": labels,
            "ids": [item.row.example["id"] for item in kept],
            "speaker_ids": [item.row.example["speaker_id"] for item in kept],
            "texts": [item.text for item in kept],
            "durations_s": [clip.size / self.sampling_rate for clip in clips],
            "columns": [
                {name: value for name, value in item.row.example.items() if name not in FEATURES} for item in kept
            ],
        }

    def clip(self, item: Item) -> np.ndarray:
        """(samples,) of an example, decoded and augmented; raises `DroppedError`."""
        try:
            clip = open_audio(item.row.example["audio"], self.sampling_rate)
        except AudioError as error:
            raise DroppedError(error.reason, str(error)) from error
        if self.trimmed:
            clip, _ = trim(clip, self.sampling_rate)
        if self.filters is not None:
            self.filters.check_sound(clip)
        if self.augmentation is not None:
            clip = surround(clip, item.silences_s, self.sampling_rate, item.rng)
            clip = self.augmentation.waveform(clip, item.rng, item.speed)
        if self.filters is not None:
            self.filters.check_frames(clip.size, item.labels)  # a header may promise more than there is
        return clip
