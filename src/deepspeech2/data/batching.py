"""The order of training examples: shards, rows, windows, batches, each a pure function of seed and position.

A *reader* is the unit of order. What reader r of R yields depends on the seed and on (r, R), never on how
many processes or workers share the readers. Nothing here decodes audio.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from datasets import IterableDataset

from ..system.network import FAILURES, Patience, may_pass, reading
from .corpora import Corpus
from .recordings import AudioError, audio_duration_s, fetch_audio

ROWS_PER_READ = 32
FEW_SHARDS = 8
MAX_EMPTY_EPOCHS = 3

# Tags keep the random streams apart: numpy treats a seed [1, 2] and a seed [1, 2, 0] as one.
SHARD_ORDER, WINDOW_ORDER, EXAMPLE = 1, 2, 3


@dataclass(frozen=True)
class Batching:
    """
    How a stream is cut into batches, and which of them are a process's own.

    Args:
        batch_seconds: largest padded duration of a batch; a longer clip is a batch by itself; None: no such limit.
        batch_size: largest count of a batch; None: no such limit.
        window_size: rows shuffled and sorted by length together; also what a resumed run reads again.
        num_readers: a multiple of world_size times the number of workers. It fixes the order of training.
        rank, world_size: of this process.

    Raises:
        ValueError: neither limit, or numbers that contradict.
    """

    batch_seconds: float | None = None
    batch_size: int | None = None
    window_size: int = 512
    num_readers: int = 1
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not self.batch_seconds and not self.batch_size:
            raise ValueError("neither batch_seconds nor batch_size was given; expected one of them")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank is {self.rank}; expected 0 to {self.world_size - 1}, one less than world_size")


class Row(NamedTuple):
    """One raw example of the corpus it came from."""

    example: dict[str, Any]
    corpus: str


class Shards:
    """
    The shards of corpora that share an epoch, and how they are dealt to `num_readers`.

    Where the readers get equally many shards, or at least `FEW_SHARDS` each, a shard has one reader; parquet files are
    split into row groups if that gets there. Else some would be through their epoch long before others: every reader
    then reads all shards and keeps every num_readers-th row.
    """

    def __init__(self, corpora: Sequence[Corpus], num_readers: int, source: int = 0) -> None:
        streams = [corpus.stream for corpus in corpora]
        if not self._deals_evenly(sum(stream.num_shards for stream in streams), num_readers):
            streams = [stream.reshard() for stream in streams]
        self.names = [corpus.name for corpus in corpora]
        self.num_readers = num_readers
        self.source = source
        self._streams = streams
        self._places = [(i, j) for i, stream in enumerate(streams) for j in range(stream.num_shards)]
        self.by_row = not self._deals_evenly(len(self._places), num_readers)

    @staticmethod
    def _deals_evenly(num_shards: int, num_readers: int) -> bool:
        return num_shards >= FEW_SHARDS * num_readers or num_shards % num_readers == 0

    def order(self, seed: int | None, epoch: int, reader: int) -> list[int]:
        """The shards of a reader in an epoch; `seed` None is the order of the files."""
        if seed is None:
            order = np.arange(len(self._places))
        else:
            order = np.random.default_rng([seed, SHARD_ORDER, self.source, epoch]).permutation(len(self._places))
        # Who gets one shard more changes from epoch to epoch.
        return (order if self.by_row else order[(reader + epoch) % self.num_readers :: self.num_readers]).tolist()

    def open(self, shard: int) -> tuple[IterableDataset, str]:
        """One shard, itself split into row groups, so that a resumed run reads none before its own."""
        corpus, index = self._places[shard]
        stream = self._streams[corpus]
        return stream.shard(num_shards=stream.num_shards, index=index).reshard(), self.names[corpus]


@dataclass
class Position:
    """The next row: `row` of row group `part` of the `shard`-th shard of the epoch's order, its `count`-th row."""

    epoch: int = 0
    shard: int = 0
    part: int = 0
    row: int = 0
    count: int = 0


class RowSource:
    """The endless rows of one reader, epoch after epoch, from a position on."""

    def __init__(self, shards: Shards, reader: int, seed: int | None, position: Position) -> None:
        self._shards, self._reader, self._seed = shards, reader, seed
        self.position = position
        self._rows: Iterator[Row] | None = None

    def take(self, count: int, *, across_epochs: bool) -> list[Row]:
        """
        The next `count` rows; fewer where the epoch ends and the rows may not run across its end.

        Raises:
            ValueError: the reader has no rows in several epochs on end.
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
                    f"{', '.join(self._shards.names)}: it is empty, or holds fewer rows than there are "
                    "readers (processes times workers)"
                )
        return rows

    def rest_of_epoch(self) -> Iterator[Row]:
        """The rows from the position to the end of its epoch."""
        position, shards = self.position, self._shards
        order = shards.order(self._seed, position.epoch, self._reader)
        while position.shard < len(order):
            stream, name = shards.open(order[position.shard])
            while position.part < stream.num_shards:
                part = stream.shard(num_shards=stream.num_shards, index=position.part)
                for example in _from_position(part, position, name):
                    position.row += 1
                    position.count += 1
                    if not shards.by_row or (position.count - 1) % shards.num_readers == self._reader:
                        yield Row(example, name)
                position.part, position.row = position.part + 1, 0
            position.shard, position.part = position.shard + 1, 0


def _from_position(part: IterableDataset, position: Position, name: str) -> Iterator[dict[str, Any]]:
    """The rest of a part; where its server fails for a moment, opened again at the row that was not read."""
    patience = Patience(f"reading {name}")
    with reading(name):
        while True:
            try:
                for example in _examples(part.skip(position.row) if position.row else part):
                    yield example
                    patience.renew()
                return
            except FAILURES as error:
                waited = isinstance(error, ConnectionError)  # datasets itself has asked again, for 9 minutes and more
                if waited or not may_pass(error) or not patience.wait(error):
                    raise


def _examples(part: IterableDataset) -> Iterator[dict[str, Any]]:
    # `iter(part)` would take another share of the rows away in each DataLoader worker; `part.iter` does not.
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
    Places of neighbours in length, in batches whose padded duration (longest times count) is at most
    `batch_seconds`, or of `batch_size`, or both. What is longer than the budget is a batch by itself.

    With `rng`, lengths are compared with an error of up to the fraction `jitter`, and the batches shuffled.
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
    if rng is not None:
        batches = [batches[index] for index in rng.permutation(len(batches))]
    return batches


class Reader:
    """
    Batches of one reader: a window of rows is planned into batches, then the next window.

    A window of several weighted sources holds their next rows in proportion (the largest remainders are
    rounded up, what is left over or owed is carried on) and runs across the ends of their epochs. A window of
    one source ends with its epoch, so that each example occurs once in it.

    `plan(rows, window)` must be a pure function.
    """

    def __init__(
        self,
        sources: Sequence[RowSource],
        weights: Sequence[float],
        window_size: int,
        plan: Callable[[list[Row], int], list[list[Any]]],
        state: dict[str, Any] | None = None,
    ) -> None:
        self._sources, self._weights, self._window_size, self._plan = sources, weights, window_size, plan
        self._window = -1
        self._batches: list[list[Any] | None] = []
        self._next = 0
        self._owed = [0.0] * len(sources)
        self._skip = 0
        if state is not None:
            self._window = state["window"] - 1
            self._owed = list(state["owed"])
            for source, position in zip(sources, state["positions"], strict=True):
                source.position = Position(**position)
            self._skip = state["batch"]
        self._start = self._state()

    @property
    def epoch(self) -> int:
        """Epochs that every source has finished."""
        return min(source.position.epoch for source in self._sources)

    def next_batch(self) -> list[Any]:
        """The next batch of planned items; empty where a window had none, all its rows being dropped."""
        if self._next >= len(self._batches):
            self._read_window()
        if self._next >= len(self._batches):
            return []
        batch, self._batches[self._next] = self._batches[self._next], None  # its audio may be freed
        self._next += 1
        assert batch is not None
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where the current window starts, and how many of its batches are done: numbers only, JSON-able."""
        if self._next < len(self._batches):
            return {**self._start, "batch": self._next}
        return {**self._state(), "batch": self._skip}

    def _state(self) -> dict[str, Any]:
        positions = [vars(source.position).copy() for source in self._sources]
        return {"window": self._window + 1, "positions": positions, "owed": list(self._owed)}

    def _read_window(self) -> None:
        self._start = self._state()
        self._window += 1
        rows: list[Row] = []
        for source, count in zip(self._sources, self._shares(), strict=True):
            rows += source.take(count, across_epochs=len(self._sources) > 1)
        self._batches = list(self._plan(rows, self._window))
        self._next, self._skip = min(self._skip, len(self._batches)), 0
        self._batches[: self._next] = [None] * self._next

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
    About how many batches one pass over all `corpora` makes, on all processes together.

    From the headers of the first `sample_size` rows of each corpus; None where one does not know its size.
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
