"""The order of training examples: shards, rows, windows and batches, each a pure function of seed and position.

A *reader* is the unit of order. The rows of reader r of R depend on the seed and on (r, R), but not on the number of
processes or workers that share the readers. Nothing here decodes audio.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from datasets import IterableDataset

from ..system.network import FAILURES, Patience, ask, in_background, may_pass, reading
from .audio.recordings import AudioError, audio_duration_s, fetch_audio
from .corpora import Corpus

ROWS_PER_READ = 32
FEW_SHARDS = 8
FEW_FILES = 2  # of the Hub for each reader: then one has at most half as many more than another
MAX_EMPTY_EPOCHS = 3

# Tags separate the random streams: numpy treats the seeds [1, 2] and [1, 2, 0] as the same.
SHARD_ORDER, WINDOW_ORDER, EXAMPLE, LENGTH_ORDER = 1, 2, 3, 4
GOLDEN_SECTION = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Batching:
    """
    The settings of the batches of a stream, and the share of one process.

    Args:
        batch_seconds: maximum padded duration of a batch. A longer clip is a batch by itself. None: no limit.
        batch_size: maximum number of clips in a batch. None: no limit.
        window_size: number of rows that are shuffled and sorted by length together. A resumed run reads one window
            again.
        num_readers: number of readers, a multiple of world_size times the number of workers. It fixes the order.
        readers_per_step: number of readers whose batches belong to the same optimizer step. Theirs have about the same
            length, so that no process waits for another one with longer clips.
        rank, world_size: the rank of this process and the number of processes.

    Raises:
        ValueError: there is no limit, or `rank` is not below `world_size`.
    """

    batch_seconds: float | None = None
    batch_size: int | None = None
    window_size: int = 512
    num_readers: int = 1
    readers_per_step: int = 1
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not self.batch_seconds and not self.batch_size:
            raise ValueError("neither batch_seconds nor batch_size was given; expected one of them")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank is {self.rank}; expected 0 to {self.world_size - 1}, one less than world_size")


class Row(NamedTuple):
    """A raw example and the name of its corpus."""

    example: dict[str, Any]
    corpus: str


class Shards:
    """
    The shards of corpora that share an epoch, and their distribution over `num_readers`.

    If all readers get the same number of shards, or at least `FEW_SHARDS` each, a shard has one reader. Parquet files
    are split into row groups if that helps. Otherwise some readers would end their epoch long before others, so every
    reader reads all shards and keeps every num_readers-th row.

    To split a file, its end must be read. On the Hub that is a request for each file by every reader, so a corpus there
    is split only if there are fewer than `FEW_FILES` files for each reader.
    """

    def __init__(self, corpora: Sequence[Corpus], num_readers: int, source: int = 0) -> None:
        streams = [corpus.stream for corpus in corpora]
        num_shards = sum(stream.num_shards for stream in streams)
        on_the_hub = any(corpus.revision for corpus in corpora)
        deals_files = on_the_hub and num_shards >= FEW_FILES * num_readers
        if not deals_files and not self._deals_evenly(num_shards, num_readers):
            streams = [_split(corpus.stream, corpus.name) for corpus in corpora]
        self.names = [corpus.name for corpus in corpora]
        self.num_readers = num_readers
        self.source = source
        self._streams = streams
        self._places = [(i, j) for i, stream in enumerate(streams) for j in range(stream.num_shards)]
        self.by_row = not deals_files and not self._deals_evenly(len(self._places), num_readers)

    @staticmethod
    def _deals_evenly(num_shards: int, num_readers: int) -> bool:
        return num_shards >= FEW_SHARDS * num_readers or num_shards % num_readers == 0

    def order(self, seed: int | None, epoch: int, reader: int) -> list[int]:
        """Return the shards of a reader in an epoch. With `seed` None, they are in the order of the files."""
        if seed is None:
            order = np.arange(len(self._places))
        else:
            order = np.random.default_rng([seed, SHARD_ORDER, self.source, epoch]).permutation(len(self._places))
        # The readers that get one shard more change from epoch to epoch.
        return (order if self.by_row else order[(reader + epoch) % self.num_readers :: self.num_readers]).tolist()

    def open(self, shard: int) -> tuple[IterableDataset, str]:
        """Return one shard, split into row groups, so that a resumed run skips earlier row groups without reading."""
        corpus, index = self._places[shard]
        stream, name = self._streams[corpus], self.names[corpus]
        return _split(stream.shard(num_shards=stream.num_shards, index=index), name), name


def _split(stream: IterableDataset, name: str) -> IterableDataset:
    """Return a stream split into its row groups, for which the end of each file is read."""
    with reading(name):
        return ask(f"splitting {name}", stream.reshard)


@dataclass
class Position:
    """The next row: row `row` of row group `part` of the `shard`-th shard of the epoch, the `count`-th row in all."""

    epoch: int = 0
    shard: int = 0
    part: int = 0
    row: int = 0
    count: int = 0


class RowSource:
    """The endless rows of one reader, epoch after epoch, starting at a position."""

    def __init__(self, shards: Shards, reader: int, seed: int | None, position: Position) -> None:
        self._shards, self._reader, self._seed = shards, reader, seed
        self.position = position
        self._rows: Iterator[Row] | None = None

    def take(self, count: int, *, across_epochs: bool) -> list[Row]:
        """
        Return the next `count` rows, or fewer if the epoch ends and `across_epochs` is False.

        Raises:
            ValueError: the reader has no rows in several consecutive epochs.
        """
        rows: list[Row] = []
        empty_epochs = 0
        while len(rows) < count:
            if self._rows is None:
                self._rows = self.rest_of_epoch()
            row = next(self._rows, None)
            if row is not None:
                rows.append(row)
                empty_epochs = 0
                continue
            self._rows = None
            self.position = Position(self.position.epoch + 1)
            if rows and not across_epochs:
                break
            empty_epochs += 1
            if empty_epochs == MAX_EMPTY_EPOCHS:
                raise ValueError(
                    f"reader {self._reader} of {self._shards.num_readers} finds no rows in "
                    f"{', '.join(self._shards.names)}: it is empty, or it has fewer rows than there are readers "
                    "(processes times data workers)"
                )
        return rows

    def rest_of_epoch(self) -> Iterator[Row]:
        """Yield the rows from the position to the end of its epoch."""
        position, shards = self.position, self._shards
        order = shards.order(self._seed, position.epoch, self._reader)
        while position.shard < len(order):
            stream, name = shards.open(order[position.shard])
            while position.part < stream.num_shards:
                parts = stream.num_shards  # to choose the only one would copy it, slower than reading a short list
                part = stream.shard(num_shards=parts, index=position.part) if parts > 1 else stream
                for example in _from_position(part, position, name):
                    position.row += 1
                    position.count += 1
                    if not shards.by_row or (position.count - 1) % shards.num_readers == self._reader:
                        yield Row(example, name)
                position.part, position.row = position.part + 1, 0
            position.shard, position.part = position.shard + 1, 0


def _from_position(part: IterableDataset, position: Position, name: str) -> Iterator[dict[str, Any]]:
    """Yield the rest of a part. After a temporary failure of the server, reopen it at the next unread row."""
    patience = Patience(f"reading {name}")
    with reading(name):
        while True:
            try:
                for example in _examples(part.skip(position.row) if position.row else part):
                    yield example
                    patience.renew()
                return
            except FAILURES as error:
                if not may_pass(error) or not patience.wait(error):
                    raise


def _examples(part: IterableDataset) -> Iterator[dict[str, Any]]:
    # `iter(part)` would split the rows once more between the DataLoader workers; `part.iter` does not.
    for batch in part.iter(batch_size=ROWS_PER_READ):
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))


def cut_batches(
    durations_s: Sequence[float],
    *,
    batch_seconds: float | None,
    batch_size: int | None,
    rng: np.random.Generator | None = None,
    jitter: float = 0.02,
) -> list[list[int]]:
    """
    Group clips of similar length into batches, as lists of places in `durations_s`.

    The padded duration of a batch (longest clip times count) is at most `batch_seconds`, and its count at most
    `batch_size`. A clip longer than `batch_seconds` is a batch by itself. The batches are in the order of their
    lengths. With `rng`, the lengths are sorted with a random relative error of up to `jitter`.
    """
    keys = np.asarray(durations_s, dtype=np.float64)
    if rng is not None:
        keys = keys * rng.uniform(1 - jitter, 1 + jitter, len(keys))
    batches: list[list[int]] = []
    longest_s = 0.0
    for place in np.argsort(keys, kind="stable").tolist():
        longest_s = max(longest_s, durations_s[place])
        full = not batches or len(batches[-1]) == batch_size
        if full or (batch_seconds is not None and longest_s * (len(batches[-1]) + 1) > batch_seconds):
            batches.append([])
            longest_s = durations_s[place]
        batches[-1].append(place)
    return batches


def draw_order(count: int, drawn: int, start: float) -> list[int]:
    """
    Return the order in which the `count` batches of a window are drawn. They are sorted by length.

    The n-th batch of a reader is to have the length quantile start + n * GOLDEN_SECTION, modulo 1. Such quantiles are
    evenly spread over every stretch of a few batches, wherever its window begins. So readers with the same `start` draw
    similar lengths at the same time, although their windows have more or fewer batches.

    Args:
        drawn: number of batches of the earlier windows.
        start: the first quantile, 0 to 1.
    """
    quantiles = (start + (drawn + np.arange(count)) * GOLDEN_SECTION) % 1
    return np.argsort(np.argsort(quantiles)).tolist()


class Reader:
    """
    The batches of one reader. It plans one window of rows after another into batches.

    A window of several weighted sources takes their next rows in proportion and continues across the ends of their
    epochs. The largest remainders are rounded up, and the difference is carried to the next window. A window of one
    source ends with its epoch, so that each example occurs once in an epoch.

    Args:
        plan: plans the rows of a window, a pure function of the rows and the number of the window. Its batches are in
            the order of their lengths.
        start: the length quantile of the first batch; see `draw_order`.
        state: the position to continue from, or None.
        ahead: whether a thread reads the rows of the next window while the batches of the present one are used.
    """

    def __init__(
        self,
        sources: Sequence[RowSource],
        weights: Sequence[float],
        window_size: int,
        plan: Callable[[list[Row], int], list[list[Any]]],
        start: float = 0.0,
        state: dict[str, Any] | None = None,
        ahead: bool = False,
    ) -> None:
        self._sources, self._weights, self._window_size, self._plan = sources, weights, window_size, plan
        self._first_quantile = start
        self._window = -1
        self._batches: list[list[Any] | None] = []
        self._next = 0
        self._drawn = 0  # batches of all windows so far, with those of the current one
        self._owed = [0.0] * len(sources)
        self._skip = 0
        if state is not None:
            self._window = state["window"] - 1
            self._drawn = state["drawn"]
            self._owed = list(state["owed"])
            for source, position in zip(sources, state["positions"], strict=True):
                source.position = Position(**position)
            self._skip = state["batch"]
        self._ahead = ahead
        self._coming: Future[list[Row]] | None = None
        self._start = self._following = self._state()  # the positions before the present window, and after it

    @property
    def epoch(self) -> int:
        """Number of epochs that every source has finished."""
        return min(position["epoch"] for position in self._following["positions"])

    def next_batch(self) -> list[Any]:
        """Return the next batch of planned items. It is empty if all rows of a window were dropped."""
        if self._next >= len(self._batches):
            self._read_window()
        if self._next >= len(self._batches):
            return []
        batch, self._batches[self._next] = self._batches[self._next], None  # frees its audio
        self._next += 1
        assert batch is not None
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return the start of the current window and the number of its finished batches, as numbers for JSON."""
        if self._next < len(self._batches):
            return {**self._start, "batch": self._next}
        return {**self._following, "batch": self._skip}

    def _state(self) -> dict[str, Any]:
        positions = [vars(source.position).copy() for source in self._sources]
        return {"window": self._window + 1, "drawn": self._drawn, "positions": positions, "owed": list(self._owed)}

    def _read_window(self) -> None:
        rows = self._coming.result() if self._coming is not None else self._rows()
        self._start, self._following = self._following, self._state()
        self._coming = in_background(self._rows) if self._ahead else None
        batches = self._plan(rows, self._start["window"])
        self._batches = [batches[place] for place in draw_order(len(batches), self._drawn, self._first_quantile)]
        self._drawn += len(batches)
        self._following["drawn"] = self._drawn
        self._next, self._skip = min(self._skip, len(self._batches)), 0
        self._batches[: self._next] = [None] * self._next

    def _rows(self) -> list[Row]:
        """Return the rows of the next window."""
        self._window += 1
        rows: list[Row] = []
        for source, count in zip(self._sources, self._shares(), strict=True):
            rows += source.take(count, across_epochs=len(self._sources) > 1)
        return rows

    def _shares(self) -> list[int]:
        wanted = [owed + self._window_size * weight for owed, weight in zip(self._owed, self._weights, strict=True)]
        shares = [max(int(want), 0) for want in wanted]
        by_remainder = sorted(range(len(wanted)), key=lambda i: (shares[i] - wanted[i], i))
        for index in by_remainder[: max(self._window_size - sum(shares), 0)]:
            shares[index] += 1
        self._owed = [want - share for want, share in zip(wanted, shares, strict=True)]
        return shares


def estimate_batches_per_epoch(
    corpora: Sequence[Corpus],
    batching: Batching,
    min_duration_s: float = 0.0,
    max_duration_s: float | None = None,
    sample_size: int = 128,
) -> float | None:
    """
    Estimate the number of batches of one pass over all `corpora`, on all processes together.

    The estimate uses the audio headers of the first `sample_size` rows of each corpus. It is None if the size of a
    corpus is unknown.
    """
    rng = np.random.default_rng(0)
    total = 0.0
    for corpus in corpora:
        if corpus.num_examples is None:
            return None
        rows = list(islice(RowSource(Shards([corpus], 1), 0, 0, Position()).rest_of_epoch(), sample_size))
        lengths_s = [_duration_s(row) for row in rows]
        kept_s = [length for length in lengths_s if min_duration_s < length <= (max_duration_s or length)]
        if not kept_s:
            continue
        drawn = rng.choice(kept_s, batching.window_size).tolist()
        batches = cut_batches(drawn, batch_seconds=batching.batch_seconds, batch_size=batching.batch_size)
        total += corpus.num_examples * len(kept_s) / len(rows) * len(batches) / batching.window_size
    return total


def _duration_s(row: Row) -> float:
    try:
        return audio_duration_s(fetch_audio(row.example["audio"]))
    except AudioError:
        return 0.0
