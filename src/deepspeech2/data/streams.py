"""Corpora in, batches out: streams that know their position, and the loader."""

import logging
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info
from torchdata.stateful_dataloader import StatefulDataLoader

from ..system.signals import only_parent_stops
from .batching import (
    EXAMPLE,
    MAX_EMPTY_EPOCHS,
    WINDOW_ORDER,
    Batching,
    Position,
    Reader,
    Row,
    RowSource,
    Shards,
    cut_batches,
)
from .corpora import Corpus
from .preparation import Batch, DropLog, Examples, Item, count_drops, summarize_drops

logger = logging.getLogger(__name__)

INPUTS = ("input_features", "attention_mask")


class _Stream(IterableDataset):
    """What training and evaluation share: the part of one process and worker, and the record of drops."""

    def __init__(self, corpora: Sequence[Corpus], batching: Batching, drops_dir: str | Path | None) -> None:
        if not corpora:
            raise ValueError("no corpus was given; expected at least one")
        self.corpora, self.batching = list(corpora), batching
        self.drops_dir = Path(drops_dir) if drops_dir is not None else None
        self._logs: list[DropLog] = []

    def drop_counts(self) -> dict[str, int]:
        """Utterances dropped so far, by reason. Without `drops_dir` only those of this process."""
        return count_drops(self.drops_dir, self._logs, self._names())

    def drop_summary(self) -> str:
        """One line on what was dropped so far, with examples. Without `drops_dir` only of this process."""
        return summarize_drops(self.drops_dir, self._logs, self._names())

    def _names(self) -> list[str]:
        return [corpus.name for corpus in self.corpora]

    def _share(self) -> tuple[int, int]:
        """First and stride of what this worker yields; workers in turn make the sequence of their rank."""
        rank, world_size = self.batching.rank, self.batching.world_size
        worker = get_worker_info()
        if worker is None:
            return rank, world_size
        return rank + world_size * worker.id, world_size * worker.num_workers

    def _cut(self, items: Sequence[Item], rng: np.random.Generator | None = None) -> list[list[Item]]:
        durations_s = [item.duration_s for item in items]
        batch_seconds, batch_size = self.batching.batch_seconds, self.batching.batch_size
        places = cut_batches(durations_s, batch_seconds=batch_seconds, batch_size=batch_size, rng=rng)
        return [[items[place] for place in batch] for batch in places]


class SpeechStream(_Stream):
    """
    Endless training batches, as [`Examples.batch`] makes them.

    The t-th batch of all processes together comes from reader t modulo `num_readers`, whatever the number of
    processes and workers: one process sees in turn what two see side by side.

    Args:
        corpora: read as one, each example once an epoch, or mixed by `weights`, each with its own epochs.
        weights: share of each corpus in a window; None joins them.
        examples: prepares them, with the filters of training.
        batching: how batches are cut, and the part of this process.
        seed: of shard order, windows and augmentation.
        max_dropped_share: of what a reader has read; where more cannot be used, iterating stops.
        drops_dir: folder for the records of dropped examples, one file for each reader.

    Raises:
        ValueError: arguments that contradict; while iterating, a stream in which nothing can be used.
    """

    def __init__(
        self,
        corpora: Sequence[Corpus],
        weights: Sequence[float] | None,
        examples: Examples,
        batching: Batching,
        *,
        seed: int,
        max_dropped_share: float = 1.0,
        drops_dir: str | Path | None = None,
    ) -> None:
        super().__init__(corpora, batching, drops_dir)
        self.num_readers = batching.num_readers
        if self.num_readers < 1 or self.num_readers % batching.world_size:
            raise ValueError(
                f"num_readers is {self.num_readers}; expected a multiple of world_size {batching.world_size}"
            )
        if weights and (len(weights) != len(corpora) or min(weights) <= 0):
            raise ValueError(f"weights are {list(weights)}; expected {len(corpora)} positive numbers")
        groups = [[corpus] for corpus in corpora] if weights else [list(corpora)]
        self._groups = groups
        self._weights = [weight / sum(weights) for weight in weights] if weights else [1.0]
        self.seed, self._restart = seed, 0
        self.max_dropped_share = max_dropped_share
        self.examples = examples
        self._readers: dict[int, Reader] = {}
        self._turn = 0
        self._loaded: dict[str, Any] | None = None

    def __iter__(self) -> Iterator[Batch]:
        first, stride = self._share()
        if self.num_readers % stride:
            raise ValueError(
                f"num_readers is {self.num_readers}; expected a multiple of {stride}, the "
                f"{self.batching.world_size} processes times their {stride // self.batching.world_size} workers"
            )
        state, self._loaded = self._loaded, None
        shards = [Shards(group, self.num_readers, source) for source, group in enumerate(self._groups)]
        self._turn = state["turn"] if state else 0
        self._readers, self._logs = {}, []
        for index in range(first, self.num_readers, stride):
            if state and str(index) not in state["readers"]:
                raise ValueError(
                    f"the saved position has readers {', '.join(state['readers'])}, but this process needs "
                    f"{index}; resume with as many processes and workers as before"
                )
            log = DropLog(self.drops_dir, f"reader-{index:05d}", resume=state is not None)
            if state:
                log.tally = dict(state["readers"][str(index)]["tally"])
            self._logs.append(log)
            self._readers[index] = Reader(
                [RowSource(part, index, self.seed + self._restart, Position()) for part in shards],
                self._weights,
                self.batching.window_size,
                self._planner(index, log),
                state["readers"][str(index)] if state else None,
            )
        return self._batches()

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands: numbers only, a few for each reader of this process; JSON-able."""
        if self._loaded or not self._readers:
            return dict(self._loaded or {})
        readers = {
            str(index): reader.state_dict() | {"tally": dict(log.tally)}
            for (index, reader), log in zip(self._readers.items(), self._logs, strict=True)
        }
        own = {"seed": self.seed, "restart": self._restart, "num_readers": self.num_readers, "turn": self._turn}
        return own | {"readers": readers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken, from the next `iter` on. Reads one window of each reader again.

        Raises:
            ValueError: the state of a stream with another seed or number of readers.
        """
        for name in ("seed", "num_readers"):
            if state and state[name] != getattr(self, name):
                raise ValueError(
                    f"the saved position has {name} {state[name]}, but the stream {getattr(self, name)}; "
                    "another order cannot be resumed: set it as before"
                )
        self._loaded = state or None
        self._restart = state["restart"] if state else self._restart

    def order(self) -> dict[str, float | None]:
        """What the order of the batches depends on, beside the seed."""
        names = ("num_readers", "world_size", "window_size", "batch_seconds", "batch_size")
        return {name: getattr(self.batching, name) for name in names}

    def start_anew(self, restart: int) -> None:
        """From the beginning of an epoch on, in another order for each `restart`."""
        self._restart, self._loaded = restart, None

    def _batches(self) -> Iterator[Batch]:
        readers = list(zip(self._readers.values(), self._logs, strict=True))
        while True:
            reader, log = readers[self._turn]
            self._turn = (self._turn + 1) % len(readers)
            started = reader.epoch
            while (batch := self.examples.batch(reader.next_batch(), log)) is None:
                if reader.epoch - started >= MAX_EMPTY_EPOCHS:
                    names = ", ".join(self._names())
                    raise ValueError(f"nothing in {names} can be used for training: {self.drop_summary()}")
            yield batch

    def _planner(self, reader: int, log: DropLog) -> Callable[[list[Row], int], list[list[Item]]]:
        def plan(rows: list[Row], window: int) -> list[list[Item]]:
            before = dict(log.tally)
            items = self.examples.items(rows, [self.seed + self._restart, EXAMPLE, reader, window], log)
            log.end_window(window, len(rows), before, self.max_dropped_share)
            return self._cut(items, np.random.default_rng([self.seed + self._restart, WINDOW_ORDER, reader, window]))

        return plan


class EvaluationStream(_Stream):
    """
    One pass over corpora: every example but those without a transcript or that cannot be decoded (recorded and logged),
    unaugmented.

    Batches are cut from windows sorted by length. Labels lack the characters that the vocabulary lacks;
    `texts` has them. Each rank, and each worker, reads everything and yields its part.

    Args:
        corpora, drops_dir: as of `SpeechStream`.
        processor, transcribed, trimmed: see `Examples`.
        batch_seconds, batch_size, window_size, rank, world_size: see `Batching`.

    Raises:
        ValueError: corpora without any row.
    """

    def __init__(
        self,
        corpora: Sequence[Corpus],
        processor: Any,
        *,
        batch_seconds: float | None = None,
        batch_size: int | None = None,
        window_size: int = 512,
        rank: int = 0,
        world_size: int = 1,
        drops_dir: str | Path | None = None,
        transcribed: bool = True,
        trimmed: bool = False,
    ) -> None:
        batching = Batching(batch_seconds or None, batch_size or None, window_size, rank=rank, world_size=world_size)
        super().__init__(corpora, batching, drops_dir)
        self.examples = Examples(processor, transcribed=transcribed, trimmed=trimmed)

    def __iter__(self) -> Iterator[Batch]:
        first, stride = self._share()
        corpora_tag = zlib.crc32("\n".join(self._names()).encode())
        log = DropLog(self.drops_dir, f"evaluation-{corpora_tag:08x}-{first:05d}", resume=False)
        self._logs = [log]
        rows = RowSource(Shards(self.corpora, 1), 0, None, Position()).rest_of_epoch()
        count = num_rows = 0
        while window := list(islice(rows, self.batching.window_size)):
            num_rows += len(window)
            for items in self._cut(self.examples.items(window, [0], log)):
                count += 1
                if (count - 1) % stride == first and (batch := self.examples.batch(items, log)) is not None:
                    yield batch
        if log.counts:
            logger.warning("evaluation left out what has no transcript or cannot be decoded: %s", self.drop_summary())
        self.examples.warn_of_unknown_characters()
        if not num_rows:
            raise ValueError(f"{', '.join(self._names())} has no rows to evaluate on")


def build_loader(stream: IterableDataset, num_workers: int = 0, pin_memory: bool = False) -> StatefulDataLoader:
    """A loader of a stream's own batches, whose `state_dict` holds the position of every worker."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'set_vital' is deprecated")  # torchdata's own call
        return StatefulDataLoader(
            stream,
            batch_size=None,
            collate_fn=_as_is,
            num_workers=num_workers,
            pin_memory=pin_memory,
            worker_init_fn=only_parent_stops,
        )


def _as_is(batch: Batch) -> Batch:
    return batch


class PairedStream(IterableDataset):
    """
    The batches of a labelled stream, each with the features and mask of the next batch of an unlabelled one as its
    `unlabelled`; `durations_s` and `ids` are of both, `labels` and the rest of the labelled one.

    Its position is that of both streams, so that it resumes exactly as either does.
    """

    def __init__(self, labelled: SpeechStream, unlabelled: SpeechStream) -> None:
        self.labelled, self.unlabelled = labelled, unlabelled

    def __iter__(self) -> Iterator[Batch]:
        # Begun before the first batch is asked for: a position may be taken, or loaded, from here on.
        return self._pairs(iter(self.labelled), iter(self.unlabelled))

    @staticmethod
    def _pairs(labelled: Iterator[Batch], unlabelled: Iterator[Batch]) -> Iterator[Batch]:
        for batch, other in zip(labelled, unlabelled, strict=True):
            both = {name: batch[name] + other[name] for name in ("ids", "durations_s")}
            yield batch | both | {"unlabelled": {name: other[name] for name in INPUTS}}

    def state_dict(self) -> dict[str, Any]:
        """Where both streams stand; JSON-able."""
        return {"labelled": self.labelled.state_dict(), "unlabelled": self.unlabelled.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken; raises ValueError as [`SpeechStream.load_state_dict`]."""
        self.labelled.load_state_dict(state["labelled"])
        self.unlabelled.load_state_dict(state["unlabelled"])

    def order(self) -> dict[str, float | None]:
        """What the order of the batches depends on, beside the seed: the streams share it."""
        return self.labelled.order()

    def start_anew(self, restart: int) -> None:
        """From the beginning of an epoch on, in another order for each `restart`."""
        self.labelled.start_anew(restart)
        self.unlabelled.start_anew(restart)

    def drop_counts(self) -> dict[str, int]:
        """Utterances of either that were dropped so far, by reason."""
        counts = self.labelled.drop_counts()
        for reason, count in self.unlabelled.drop_counts().items():
            counts[reason] = counts.get(reason, 0) + count
        return counts

    def drop_summary(self) -> str:
        """A line on what was dropped so far of either."""
        return f"{self.labelled.drop_summary()}; unlabelled: {self.unlabelled.drop_summary()}"
