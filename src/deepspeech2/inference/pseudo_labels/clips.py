"""Recordings without transcripts to batches of clips. Long recordings are cut at pauses."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import get_worker_info

from ...data.audio.recordings import AudioError, fetch_audio, is_remote, open_audio, read_header
from ...data.batching import Position, Row, RowSource, Shards, cut_batches
from ...data.corpora import Corpus
from ...data.lists.cells import Span, short, with_span
from ...data.streams import CorpusStream
from ..long_form import Cutter
from ..media import read_blocks

SHORTEST_S = 0.1  # training takes no shorter clips either, by default
WINDOW = 256  # recordings that are sorted by length together
ANY_S = 1e6  # the longest recording that is believed, in seconds: it is read in blocks


class Clip(NamedTuple):
    """
    A recording, or a part of it.

    `audio` is the path of its file, or "" if it lies in a table. `start_s` and `end_s` are its span in that file, None
    for the whole.
    """

    id: str
    audio: str
    start_s: float | None
    end_s: float | None
    speaker_id: str
    duration_s: float


class Drop(NamedTuple):
    """A recording or a clip that is left out."""

    id: str
    reason: str
    detail: str
    text: str = ""


class Cut(NamedTuple):
    """A long recording that was cut to the end: the number of its parts, and the seconds that are in none of them."""

    id: str
    parts: int
    left_out_s: float


@dataclass
class ClipBatch:
    """Clips with the inputs of the teacher, and what became of recordings on the way."""

    clips: list[Clip] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)


class ClipStream(CorpusStream):
    """
    One pass over corpora, as batches of clips. Processes and data workers share the recordings.

    A recording of more than `max_duration_s` is cut at its quietest places, and long silences in it are left out. One
    that lies inside a table cannot be named in parts. It stays whole if the teacher takes its length.

    Args:
        corpora: the corpora, loaded without transcripts.
        features: makes the teacher's inputs of clips.
        sampling_rate: the teacher's sampling rate in Hz.
        longest_s: the longest clip that the teacher takes, in seconds. None: any.
        max_duration_s: the longest part of a recording, in seconds.
        batch_seconds: the longest batch, in seconds with padding.
        done: ids of recordings and clips that are passed over.
        rank, world_size: the share of this process.

    Raises:
        ValueError: `max_duration_s` is not above 1 s, or longer than the teacher takes.
    """

    def __init__(
        self,
        corpora: Sequence[Corpus],
        features: Callable[[Sequence[np.ndarray]], list[dict[str, Any]]],
        sampling_rate: int,
        *,
        longest_s: float | None,
        max_duration_s: float,
        batch_seconds: float,
        done: Collection[str] = (),
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not max_duration_s > 1.0:
            raise ValueError(f"max_duration_s is {max_duration_s}; expected more than 1 second")
        if longest_s is not None and max_duration_s > longest_s:
            raise ValueError(
                f"max_duration_s is {max_duration_s}, but this teacher takes clips of up to {longest_s:g} s; lower it"
            )
        self.corpora, self.features, self.sampling_rate = list(corpora), features, sampling_rate
        self.longest_s, self.max_duration_s, self.batch_seconds = longest_s, max_duration_s, batch_seconds
        self.done, self.rank, self.world_size = frozenset(done), rank, world_size

    def __iter__(self) -> Iterator[ClipBatch]:
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        own = self._own(self.rank + self.world_size * number, self.world_size * count)
        while window := list(islice(own, WINDOW)):
            yield from self._batches(window)

    def _own(self, first: int, stride: int) -> Iterator[Row | Drop]:
        """Yield every stride-th recording, except those that are done. An id that comes again is a drop."""
        seen: set[str] = set()
        rows = RowSource(Shards(self.corpora, 1), 0, None, Position()).rest_of_epoch()
        for place, row in enumerate(rows):
            name, again = row.example["id"], row.example["id"] in seen
            seen.add(name)
            if place % stride != first:
                continue
            if again:
                yield Drop(name, "duplicate_id", "an earlier recording has the same id")
            elif name not in self.done:
                yield row

    def _batches(self, window: Sequence[Row | Drop]) -> Iterator[ClipBatch]:
        dropped = ClipBatch()
        short_ones: list[tuple[Clip, dict[str, Any]]] = []
        long_ones: list[tuple[Clip, dict[str, Any]]] = []
        for row in window:
            one = row if isinstance(row, Drop) else self._look_at(row.example)
            if isinstance(one, Drop):
                dropped.drops.append(one)
                continue
            clip = one[0]
            is_long = clip.duration_s > self.max_duration_s and bool(clip.audio)
            (long_ones if is_long else short_ones).append(one)
        if dropped.drops:
            yield dropped
        durations_s = [clip.duration_s for clip, _ in short_ones]
        for batch in cut_batches(durations_s, batch_seconds=self.batch_seconds, batch_size=None):
            yield self._decoded([short_ones[place] for place in batch])
        for clip, audio in long_ones:
            yield from self._parts(clip, audio)

    def _look_at(self, example: dict[str, Any]) -> tuple[Clip, dict[str, Any]] | Drop:
        """Return a recording as one clip, by its header, with its audio, or why it cannot be used."""
        name = example["id"]
        if fault := example["fault"]:
            reason, _, detail = fault.partition(": ")
            return Drop(name, reason, detail)
        try:
            audio = fetch_audio(example["audio"])
            duration_s = read_header(audio, ANY_S).duration_s
        except AudioError as error:
            return Drop(name, error.reason, str(error))
        path = example["audio"]["path"] or ""
        in_a_file = example["audio"]["bytes"] is None and not path.startswith("hf://")
        file = (path if is_remote(example["audio"]) else os.path.abspath(path)) if in_a_file else ""
        if duration_s < SHORTEST_S:
            return Drop(name, "too_short", f"{duration_s:.3f} s; expected {SHORTEST_S} s or more")
        if not file and self.longest_s is not None and duration_s > self.longest_s:
            return Drop(
                name,
                "too_long",
                f"{duration_s:.1f} s, but the teacher takes {self.longest_s:g} s, and a recording inside a table "
                "cannot be named in parts: write it to a file",
            )
        return Clip(name, file, audio["start_s"], audio["end_s"], example["speaker_id"], duration_s), audio

    def _decoded(self, batch: Sequence[tuple[Clip, dict[str, Any]]]) -> ClipBatch:
        made, samples = ClipBatch(), []
        for clip, audio in batch:
            try:
                samples.append(open_audio(audio, self.sampling_rate))
            except AudioError as error:
                made.drops.append(Drop(clip.id, error.reason, str(error)))
            else:
                made.clips.append(clip)
        made.inputs = self.features(samples) if samples else []
        return made

    def _parts(self, whole: Clip, audio: dict[str, Any]) -> Iterator[ClipBatch]:
        """Yield batches of the parts of a long recording. The last one says that it is done."""
        cutter, batch = Cutter(self.sampling_rate, 1, self.max_duration_s), ClipBatch()
        count, left_out_s = 0, 0.0
        samples: list[np.ndarray] = []
        try:
            for window in cutter(self._blocks(audio)):
                begin = window.seam_start - window.start
                part = window.samples[begin : begin + window.seam_end - window.seam_start]
                clip = self._part(whole, window.seam_start, window.seam_end)
                if clip.duration_s < SHORTEST_S:  # the rest of a pause
                    left_out_s += clip.duration_s
                    continue
                count += 1
                if clip.id in self.done:
                    continue
                if samples and max(len(part), *map(len, samples)) * (len(samples) + 1) > self._most:
                    batch.inputs = self.features(samples)
                    yield batch
                    batch, samples = ClipBatch(), []
                batch.clips.append(clip)
                samples.append(part)
            batch.cuts.append(Cut(whole.id, count, left_out_s + cutter.left_out / self.sampling_rate))
        except AudioError as error:
            batch.drops.append(Drop(whole.id, error.reason, str(error)))
        batch.inputs = self.features(samples) if samples else []
        yield batch

    @property
    def _most(self) -> float:
        return self.batch_seconds * self.sampling_rate

    def _blocks(self, audio: dict[str, Any]) -> Iterator[np.ndarray]:
        if audio["bytes"] is None and audio["start_s"] is None and audio["end_s"] is None:
            return read_blocks(Path(audio["path"]), self.sampling_rate)
        return iter([open_audio(audio, self.sampling_rate)])

    def _part(self, whole: Clip, start: int, end: int) -> Clip:
        offset_s = whole.start_s or 0.0
        span = Span(round(offset_s + start / self.sampling_rate, 3), round(offset_s + end / self.sampling_rate, 3))
        name = whole.id.partition("#t=")[0] if whole.start_s is not None or whole.end_s is not None else whole.id
        duration_s = (end - start) / self.sampling_rate
        return Clip(short(with_span(name, span)), whole.audio, *span, whole.speaker_id, duration_s)
