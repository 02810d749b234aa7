"""Steps whose gradient is no number: left out, recorded, and the end of a training where they pile up."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from .checkpoints import write_whole

logger = logging.getLogger(__name__)

FILE_NAME = "skipped_steps.jsonl"
NUM_SHOWN = 8


class SkippedSteps:
    """
    The record of the optimizer steps that were left out, their gradient being infinite or no number: a line of JSON
    for each, with the ids of its batches.

    Args:
        folder: of the run.
        most_in_a_row: with more, the training stops.
        writes: whether this process keeps the record; the others only read it.
    """

    def __init__(self, folder: Path, most_in_a_row: int, writes: bool):
        self.path, self.most_in_a_row, self.writes = folder / FILE_NAME, most_in_a_row, writes
        self.steps: list[int] = []

    def begin(self, step: int) -> None:
        """A training starts, or goes on after `step`: what an earlier sitting recorded beyond it will come again."""
        lines = []
        if self.path.is_file():
            # What stands behind the last line feed was not written whole; splitlines would split ids, too.
            lines = self.path.read_text(encoding="utf-8").split("\n")[:-1]
            lines = [line for line in lines if json.loads(line)["step"] <= step]
            if self.writes:
                write_whole(self.path, "".join(f"{line}\n" for line in lines))
        self.steps = [json.loads(line)["step"] for line in lines]

    def add(self, step: int, ids: Sequence[str]) -> None:
        """
        Raises:
            ValueError: too many in a row, with what to try.
        """
        self.steps.append(step)
        if self.writes:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "ids": list(ids)}, ensure_ascii=False) + "\n")
        shown = ", ".join(ids[:NUM_SHOWN]) + (f" and {len(ids) - NUM_SHOWN} more" if len(ids) > NUM_SHOWN else "")
        logger.warning(
            "step %d left out: its gradient is not finite; it was that of %s (%s lists all)", step, shown, self.path
        )
        if self.in_a_row() > self.most_in_a_row:
            raise ValueError(
                f"the gradients of {self.in_a_row()} steps in a row were not finite, up to step {step}, more than "
                f"max_skipped_steps {self.most_in_a_row}: the weights have gone astray, or the numbers have no room. "
                "Try a learning_rate of a third, a longer warmup_steps, max_grad_norm 1, bf16 or neither instead of "
                f"fp16; recipes/check_data.py looks at the recordings. {self.path} lists the utterances"
            )

    def in_a_row(self) -> int:
        """How many of the last steps were left out without one between them."""
        count = 1
        while count < len(self.steps) and self.steps[-count - 1] == self.steps[-1] - count:
            count += 1
        return count if self.steps else 0


def skipped_steps(folder: Path) -> int:
    """How many steps the run in a folder has left out."""
    path = folder / FILE_NAME
    return path.read_text(encoding="utf-8").count("\n") if path.is_file() else 0


class Buffers:
    """The running statistics of a model, which a forward pass with infinite values would spoil for ever."""

    def __init__(self, model: nn.Module):
        self._kept = [(buffer, buffer.clone()) for buffer in model.buffers()]

    def put_back(self) -> None:
        for buffer, kept in self._kept:
            buffer.copy_(kept)
