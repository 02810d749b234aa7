"""Streams of batches from corpora, with a position that can be saved, and their data loader."""

import logging
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info
from torchdata.stateful_dataloader import StatefulDataLoader

from ..system.signals import only_parent_stops
from .batching import (
    EXAMPLE,
    LENGTH_ORDER,
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


class CorpusStream(IterableDataset):
    """A stream of batches from corpora."""

    corpora: list[Corpus]


class _Stream(CorpusStream):
    """The common base of training and evaluation: the share of one process and worker, and the drop record."""

    def __init__(self, corpora: Sequence[Corpus], batching: Batching, drops_dir: str | Path | None) -> None:
        if not corpora:
            raise ValueError("no corpus was given; expected at least one")
        self.corpora, self.batching = list(corpora), batching
        self.drops_dir = Path(drops_dir) if drops_dir is not None else None
        self._logs: list[DropLog] = []

    def drop_counts(self) -> dict[str, int]:
        """Count the utterances dropped so far, by reason. Without `drops_dir`, only those of this process count."""
        return count_drops(self.drops_dir, self._logs, self._names())

    def drop_summary(self) -> str:
        """Return one line on the utterances dropped so far. Without `drops_dir`, only those of this process count."""
        return summarize_drops(self.drops_dir, self._logs, self._names())

    def _names(self) -> list[str]:
        return [corpus.name for corpus in self.corpora]

    def _share(self) -> tuple[int, int]:
        """Return the first batch and the stride of this worker. The workers of a rank take turns."""
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
    An endless stream of training batches, as `Examples.batch` makes them.

    The t-th batch of all processes together comes from reader t modulo `num_readers`, whatever the number of processes
    and workers. One process gets in sequence the batches that two processes get in parallel.

    A worker process reads the next window of each of its readers while the batches of the present one are used.

    Args:
        corpora: the corpora. Without `weights` they are read as one, each example once an epoch. With `weights` they
            are mixed, and each has its own epochs.
        weights: the share of each corpus in a window, or None.
        examples: prepares the examples, with the filters of training.
        batching: the settings of the batches, and the share of this process.
        seed: the seed of the shard order, the windows and the augmentation.
        max_dropped_share: the maximum share of unusable rows of a reader. Above it, iteration stops.
        drops_dir: the folder of the records of dropped examples, one file for each reader.

    Raises:
        ValueError: arguments contradict each other. During iteration: too many or all examples are unusable.
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
                    f"{index}; resume with the same number of processes and workers"
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
                self._first_quantile(index),
                state["readers"][str(index)] if state else None,
                ahead=get_worker_info() is not None,
            )
        return self._batches()

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the stream, as a few numbers for each reader of this process, for JSON."""
        if self._loaded or not self._readers:
            return dict(self._loaded or {})
        readers = {
            str(index): reader.state_dict() | {"tally": dict(log.tally)}
            for (index, reader), log in zip(self._readers.items(), self._logs, strict=True)
        }
        own = {"seed": self.seed, "restart": self._restart, "num_readers": self.num_readers, "turn": self._turn}
        return own | {"readers": readers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """
        Continue from `state` at the next `iter`. It reads one window of each reader again.

        Raises:
            ValueError: the state is from a stream with another seed or number of readers.
        """
        for name in ("seed", "num_readers"):
            if state and state[name] != getattr(self, name):
                raise ValueError(
                    f"the saved position has {name} {state[name]}, but the stream has {getattr(self, name)}; "
                    "a run cannot resume in another order: set the value as before"
                )
        self._loaded = state or None
        self._restart = state["restart"] if state else self._restart

    def order(self) -> dict[str, float | None]:
        """Return the settings that fix the order of the batches, except the seed."""
        names = ("num_readers", "readers_per_step", "world_size", "window_size", "batch_seconds", "batch_size")
        return {name: getattr(self.batching, name) for name in names}

    def start_anew(self, restart: int) -> None:
        """Start again from the beginning of an epoch, in another order for each `restart`."""
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

    def _first_quantile(self, reader: int) -> float:
        group = reader // self.batching.readers_per_step
        return np.random.default_rng([self.seed + self._restart, LENGTH_ORDER, group]).random()

    def _planner(self, reader: int, log: DropLog) -> Callable[[list[Row], int], list[list[Item]]]:
        def plan(rows: list[Row], window: int) -> list[list[Item]]:
            before = dict(log.tally)
            items = self.examples.items(rows, [self.seed + self._restart, EXAMPLE, reader, window], log)
            log.end_window(window, len(rows), before, self.max_dropped_share)
            return self._cut(items, np.random.default_rng([self.seed + self._restart, WINDOW_ORDER, reader, window]))

        return plan


class EvaluationStream(_Stream):
    """
    One pass over corpora without augmentation. Examples without a transcript, or that cannot be decoded, are left out,
    recorded and logged.

    Batches are cut from windows sorted by length. Characters outside the vocabulary are missing in `labels` but kept in
    `texts`. Each rank and each worker reads all rows and yields its share. If the encoded audio of its share is at most
    `kept_bytes`, it keeps that in memory, and later passes read no list and no Parquet again.

    Args:
        corpora, drops_dir: see `SpeechStream`.
        processor, transcribed, trimmed: see `Examples`.
        batch_seconds, batch_size, window_size, rank, world_size: see `Batching`.

    Raises:
        ValueError: the corpora have no rows.
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
        kept_bytes: int = 0,
    ) -> None:
        batching = Batching(batch_seconds or None, batch_size or None, window_size, rank=rank, world_size=world_size)
        super().__init__(corpora, batching, drops_dir)
        self.examples = Examples(processor, transcribed=transcribed, trimmed=trimmed)
        self._kept_bytes = kept_bytes
        self._kept: list[list[Item]] | None = None

    def __iter__(self) -> Iterator[Batch]:
        first, stride = self._share()
        if self._kept is None:
            corpora_tag = zlib.crc32("\n".join(self._names()).encode())
            self._logs = [DropLog(self.drops_dir, f"evaluation-{corpora_tag:08x}-{first:05d}", resume=False)]
        (log,) = self._logs
        for items in self._read(first, stride, log) if self._kept is None else self._kept:
            if (batch := self.examples.batch(items, log)) is not None:
                yield batch
        if log.counts:
            logger.warning(
                "evaluation left out utterances without a transcript or that cannot be decoded: %s", self.drop_summary()
            )

    def _read(self, first: int, stride: int, log: DropLog) -> Iterator[list[Item]]:
        """Yield the batches of this worker, and keep them if they are small enough."""
        # All workers of all processes plan all rows: one of them says what that leaves out.
        said = log if first == 0 else DropLog(None, "", resume=False)
        kept: list[list[Item]] | None = [] if self._kept_bytes else None
        count = num_rows = size = 0
        rows = RowSource(Shards(self.corpora, 1), 0, None, Position()).rest_of_epoch()
        while window := list(islice(rows, self.batching.window_size)):
            num_rows += len(window)
            for items in self._cut(self.examples.items(window, [0], said)):
                count += 1
                if (count - 1) % stride != first:
                    continue
                if kept is not None:
                    kept.append(items)
                    size += sum(len(item.row.example["audio"]["bytes"] or b"") for item in items)
                    if size > self._kept_bytes:
                        kept = None
                yield items
        self.examples.warn_of_unknown_characters(logging.WARNING if first == 0 else logging.DEBUG)
        if not num_rows:
            raise ValueError(f"{', '.join(self._names())} has no rows to evaluate on")
        self._kept = kept


def build_eval_loader(stream: CorpusStream, num_workers: int, keep: bool = False) -> StatefulDataLoader:
    """
    Return a loader of an evaluation or of pseudo-labelling, for one pass, or with `keep` for several.

    It has `num_workers` workers. Each reads all rows, so speech that comes from a server has at most one. Such speech
    arrives hardly faster than one process decodes it.
    """
    if any(corpus.remote for corpus in stream.corpora):
        num_workers = min(1, num_workers)
    return build_loader(stream, num_workers, persistent=keep and num_workers > 0)


def build_loader(
    stream: IterableDataset, num_workers: int = 0, pin_memory: bool = False, persistent: bool = False
) -> StatefulDataLoader:
    """
    Return a loader of the batches of a stream. Its `state_dict` has the position of every worker.

    With `persistent`, its workers stay for the next pass.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'set_vital' is deprecated")  # torchdata's own call
        return StatefulDataLoader(
            stream,
            batch_size=None,
            collate_fn=_as_is,
            num_workers=num_workers,
            pin_memory=pin_memory,
            worker_init_fn=only_parent_stops,
            persistent_workers=persistent,
            # An iterator draws a seed. From the global generator, that draw would change the dropout of a resumed run.
            generator=torch.Generator(),
        )


def _as_is(batch: Batch) -> Batch:
    return batch


class PairedStream(IterableDataset):
    """
    The batches of a labelled stream. Each gets the features and the mask of an unlabelled batch as `unlabelled`.

    `durations_s` and `ids` cover both batches, `labels` and the other items only the labelled one. The position is that
    of both streams, so that it resumes as exactly as they do.
    """

    def __init__(self, labelled: SpeechStream, unlabelled: SpeechStream) -> None:
        self.labelled, self.unlabelled = labelled, unlabelled

    def __iter__(self) -> Iterator[Batch]:
        # Both are started before the first batch: from here on, a position can be saved or loaded.
        return self._pairs(iter(self.labelled), iter(self.unlabelled))

    @staticmethod
    def _pairs(labelled: Iterator[Batch], unlabelled: Iterator[Batch]) -> Iterator[Batch]:
        for batch, other in zip(labelled, unlabelled, strict=True):
            both = {name: batch[name] + other[name] for name in ("ids", "durations_s")}
            yield batch | both | {"unlabelled": {name: other[name] for name in INPUTS}}

    def state_dict(self) -> dict[str, Any]:
        """Return the position of both streams, for JSON."""
        return {"labelled": self.labelled.state_dict(), "unlabelled": self.unlabelled.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`. Raises as `SpeechStream.load_state_dict`."""
        self.labelled.load_state_dict(state["labelled"])
        self.unlabelled.load_state_dict(state["unlabelled"])

    def order(self) -> dict[str, float | None]:
        """Return the settings that fix the order of the batches, except the seed. Both streams share them."""
        return self.labelled.order()

    def start_anew(self, restart: int) -> None:
        """Start again from the beginning of an epoch, in another order for each `restart`."""
        self.labelled.start_anew(restart)
        self.unlabelled.start_anew(restart)

    def drop_counts(self) -> dict[str, int]:
        """Count the utterances of both streams dropped so far, by reason."""
        counts = self.labelled.drop_counts()
        for reason, count in self.unlabelled.drop_counts().items():
            counts[reason] = counts.get(reason, 0) + count
        return counts

    def drop_summary(self) -> str:
        """Return one line on the utterances of both streams dropped so far."""
        return f"{self.labelled.drop_summary()}; unlabelled: {self.unlabelled.drop_summary()}"
