"""Preparation of examples for the model: filters, labels, decoding, augmentation, and padded batches."""

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

from ..system.characters import describe_counts
from ..system.files import write_whole
from .audio.recordings import AudioError, audio_duration_s, fetch_audio, is_remote, open_audio
from .augmentation import draw_silences_s, surround, trim
from .batching import Row
from .corpora import FEATURES

if TYPE_CHECKING:
    from .augmentation import Augmentation

logger = logging.getLogger(__name__)

FETCHERS = 8
MAX_SHOWN = 200  # characters of a text in the drop record
SILENT_RANGE = 1e-4  # maximum minus minimum sample of a silent clip: three steps of 16 bits, -80 dB
Batch = dict[str, Any]
NUM_SHOWN = 3
NUM_LISTED = 20
MIN_DROPS = 10  # with fewer drops, a run continues, whatever their share
ASKED_FOR = ("too_short", "too_long")  # limits set by the user; the other reasons are faults of the data
Drop = dict[str, Any]


class DropLog:
    """
    The dropped examples of one reader, with `reason`, `corpus`, `id` and `detail`, each a line of `folder/name.jsonl`.

    With `folder` None, they are only in memory. An example that is dropped again, in a later epoch or after a resume,
    is recorded once. `tally` counts the rows read and the faulty rows, each time they are read. It is part of the
    reader's position, so that a resumed run stops at the same place as an uninterrupted one. Its `window` is the last
    window that it includes.
    """

    def __init__(self, folder: Path | None, name: str, *, resume: bool) -> None:
        self.drops: list[Drop] = []
        self.tally = {"window": -1, "rows": 0, "faults": 0}
        self._path = folder / f"{name}.jsonl" if folder is not None else None
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if resume:
                self.drops = list(_read(self._path))
                write_whole(self._path, "".join(map(_line, self.drops)))  # without an incomplete last line
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
        Add a window's rows to the tally, which was `before`. If a resumed run reads a window again, it already counts.

        Raises:
            ValueError: more than `max_share` of the rows so far, and at least ten, are faulty. The message lists their
                ids and reasons.
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
            f"max_dropped_share {max_share}; fix them, or raise it to train without them{where}{listed}{more}"
        )


def _line(drop: Drop) -> str:
    return json.dumps(drop, ensure_ascii=False) + "\n"


def _key(drop: Drop) -> tuple[str, str]:
    return drop["corpus"], drop["id"]


def _read(path: Path) -> Iterable[Drop]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:  # splitlines would also split inside ids
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return  # a killed run can leave an incomplete last line


def _collect(folder: Path | None, logs: Iterable[DropLog], corpora: Collection[str]) -> list[Drop]:
    if folder is None:
        found = [drop for log in logs for drop in log.drops]
    else:
        found = [drop for path in sorted(folder.glob("*.jsonl")) for drop in _read(path)]
    return list({_key(drop): drop for drop in found if drop["corpus"] in corpora}.values())


def count_drops(folder: Path | None, logs: Iterable[DropLog], corpora: Collection[str]) -> dict[str, int]:
    """Count the drops by reason, the most frequent first, from the files of all readers, or from `logs`."""
    return dict(Counter(drop["reason"] for drop in _collect(folder, logs, corpora)).most_common())


def summarize_drops(folder: Path | None, logs: Iterable[DropLog], corpora: Collection[str]) -> str:
    """Return one line with the number of drops, their reasons with some ids, and the unknown characters."""
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
            examples = f"{describe_counts(characters, 10)}; {examples}"
        parts.append(f"{len(drops)} {reason} ({examples}{', ...' if len(drops) > NUM_SHOWN else ''})")
    where = f"; listed in {folder}" if folder is not None else ""
    return f"dropped {sum(map(len, by_reason.values()))} utterances: {'; '.join(parts)}{where}"


class DroppedError(Exception):
    """An example cannot be used, with the reason."""

    def __init__(self, reason: str, detail: str, characters: Counter[str] | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail
        self.more = {"characters": dict(characters)} if characters else {}


@dataclass
class Item:
    """An example that passed the filters, with its audio still encoded. `duration_s` is after augmentation."""

    row: Row
    text: str
    labels: list[int]
    duration_s: float
    speed: float
    silences_s: tuple[float, float]
    rng: np.random.Generator


def needed_frames(labels: Sequence[int]) -> int:
    """Return the output frames that CTC needs for `labels`: one for each, and a blank between two equal ones."""
    return len(labels) + sum(left == right for left, right in pairwise(labels))


def is_silent(samples: np.ndarray) -> bool:
    """Return whether the samples (N,) are silent."""
    return bool(np.ptp(samples) < SILENT_RANGE)


@dataclass(frozen=True)
class Filters:
    """
    The filters of training examples. `frames` returns the model's output frames for a number of samples.

    The limits are in seconds and inclusive. With `max_duration_s` None, there is no upper limit.
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
            raise DroppedError("empty_text", "there is no text, or none is left after normalisation")
        if unknown:
            raise DroppedError("unknown_characters", f"{describe_counts(unknown)} in {text[:MAX_SHOWN]!r}", unknown)

    def check_sound(self, samples: np.ndarray) -> None:
        """Drop silent clips: their transcripts would teach the model to predict words in silence."""
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
    Prepares examples with a processor, for training with filters and augmentation, for evaluation without them.

    Args:
        processor: the processor of the model.
        filters: the filters of training, or None.
        augmentation: the augmentation of training, or None.
        transcribed: whether the examples have transcripts. If not, texts and labels are empty.
        trimmed: whether to remove silence at both ends.
        two_views: whether the features of each clip are augmented twice, from the same samples.
    """

    def __init__(
        self,
        processor: Any,
        filters: Filters | None = None,
        augmentation: "Augmentation | None" = None,
        transcribed: bool = True,
        trimmed: bool = False,
        two_views: bool = False,
    ) -> None:
        self.processor, self.filters, self.augmentation = processor, filters, augmentation
        self.transcribed, self.trimmed, self.two_views = transcribed, trimmed, two_views
        self.sampling_rate: int = processor.feature_extractor.sampling_rate
        # Characters of the references that are not in the vocabulary.
        self.unknown_characters: Counter[str] = Counter()
        self.unknown_ids: list[str] = []

    def warn_of_unknown_characters(self, level: int = logging.WARNING) -> None:
        """Log a warning about unknown characters in the references, at the end of an evaluation."""
        unknown, ids = self.unknown_characters, list(dict.fromkeys(self.unknown_ids))
        if unknown:
            logger.log(
                level,
                "%d references have characters that are not in the vocabulary (%s; %s): the model cannot predict them, "
                "and each such word counts as an error",
                len(ids),
                describe_counts(unknown, 10),
                ", ".join(ids[:NUM_SHOWN]) + (", ..." if len(ids) > NUM_SHOWN else ""),
            )
            unknown.clear()
            self.unknown_ids.clear()

    def items(self, rows: Sequence[Row], key: Sequence[int], log: DropLog) -> list[Item]:
        """Return the usable examples in order, and add the others to `log`. [*key, place] seeds the augmentation."""
        items = []
        for row, outcome in self.outcomes(rows, key):
            if isinstance(outcome, Item):
                items.append(outcome)
            else:
                log.add(outcome.reason, row, outcome.detail, **outcome.more)
        return items

    def outcomes(self, rows: Sequence[Row], key: Sequence[int]) -> Iterator[tuple[Row, "Item | DroppedError"]]:
        """Yield each row in order with its item or the reason for a drop. Remote audio is fetched in parallel."""
        with ThreadPoolExecutor(FETCHERS) as pool:  # starts threads only for remote audio
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
                pool.shutdown(cancel_futures=True)  # else each recording would wait for a lost server

    def _item(self, row: Row, fetched: "Future[dict[str, Any]] | None", rng: np.random.Generator) -> Item:
        if fault := row.example.get("fault"):  # of a list; rows made by hand have none
            reason, _, detail = fault.partition(": ")
            raise DroppedError(reason, detail)
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
                # One sample of slack, since the resampler can round the other way.
                if not self.filters.has_room(int(num_samples / speed) - 1, labels):
                    speed = 1.0
                silences_s = draw_silences_s(self.augmentation.args.silence_s, rng)
        return Item(row, text, labels, (duration_s + sum(silences_s)) / speed, speed, silences_s, rng)

    def batch(self, items: Sequence[Item], log: DropLog) -> Batch | None:
        """
        Decode, augment and pad a batch.

        Returns:
            `input_features` (B, T, F) float32, `attention_mask` (B, T) int64, `labels` (B, U) int64 padded
            with -100, and lists of B: `ids`, `speaker_ids`, `texts` (normalised), `durations_s` (after
            augmentation) and `columns` (the kept columns of each). With `two_views` also `second_view`, other
            features of the same clips. None if nothing could be decoded.
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
        views = {"input_features": features} | ({"second_view": features.clone()} if self.two_views else {})
        if self.augmentation is not None:
            lengths = mask.sum(1).tolist()
            for view in views.values():
                for own, item, length in zip(view, kept, lengths, strict=True):
                    own[:length] = torch.from_numpy(self.augmentation.features(own[:length].numpy(), item.rng))
        labels = torch.full((len(kept), max(1, *(len(item.labels) for item in kept))), -100)
        for target, item in zip(labels, kept, strict=True):
            target[: len(item.labels)] = torch.tensor(item.labels)
        return views | {
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
        """Return the decoded and augmented samples (N,) of an example. Raises `DroppedError`."""
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
            if not clip.size:
                raise DroppedError("empty_audio", f"no sample is left at {item.speed:.3f} times the speed")
        if self.filters is not None:
            self.filters.check_frames(clip.size, item.labels)  # a header can claim more samples than there are
        return clip
