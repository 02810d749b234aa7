"""Speech without transcripts beside the labelled: two streams that the loader sees as one, with one position."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import IterableDataset

from .data import SpeechStream
from .examples import Batch

INPUTS = ("input_features", "attention_mask")


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
