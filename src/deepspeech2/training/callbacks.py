"""What the Trainer does beside its steps: the progress bar, true epochs, the watch for blanks, the average."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from transformers import ProgressCallback, TrainerCallback

from ..system.files import write_whole

logger = logging.getLogger(__name__)

EARLY_SHARE = 0.3  # of the training, in which nothing but blanks is usual
FILE_NAME = "skipped_steps.jsonl"
NUM_SHOWN = 8


class CTCProgress(ProgressCallback):
    """The progress bar, with loss, WER and audio seconds per second beside it."""

    def __init__(self):
        super().__init__()
        self.shown: dict[str, str] = {}

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.training_bar is None or not logs:
            return
        formats = {"loss": "{:.3f}", "eval_wer": "{:.1%}", "audio_s_per_s": "{:.0f}"}
        self.shown |= {key: form.format(logs[key]) for key, form in formats.items() if key in logs}
        self.training_bar.set_postfix(self.shown)
        if "eval_wer" in logs:
            self.training_bar.write(
                f"step {state.global_step:,}: eval WER {logs['eval_wer']:.1%}, CER {logs['eval_cer']:.1%}, "
                f"loss {logs['eval_loss']:.3f}"
            )


class EpochClock(TrainerCallback):
    """True epochs in the log: Trainer itself sees one endless epoch."""

    def __init__(self, steps_per_epoch: float):
        self.steps_per_epoch = steps_per_epoch

    def on_step_end(self, args, state, control, **kwargs):
        state.epoch = state.global_step / self.steps_per_epoch


class LogAtCheckpoint(TrainerCallback):
    """A logged loss is a mean since the last log, which a checkpoint does not hold: it ends with each of them."""

    def on_step_end(self, args, state, control, **kwargs):
        control.should_log |= control.should_save


class DropReport(TrainerCallback):
    """Says what training leaves out: the first drops at the next line of the log, more of them at each evaluation."""

    def __init__(self, stream):
        self.stream = stream
        self.said = stream.drop_summary()
        self.dropped = bool(stream.drop_counts())

    def on_log(self, args, state, control, **kwargs):
        if not self.dropped:  # the records are short as long as nothing was said
            self._say(state)

    def on_evaluate(self, args, state, control, **kwargs):
        self._say(state)

    def _say(self, state):
        if state.is_world_process_zero and (summary := self.stream.drop_summary()) != self.said:
            self.said, self.dropped = summary, True
            logger.warning("training data: %s", summary)


class BlankWatch(TrainerCallback):
    """Says when a model writes nothing but blanks: why that is usual early in a training, what to do about it late."""

    def __init__(self) -> None:
        self.wrote = False

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        share = (metrics or {}).get("eval_empty")
        if share is None or not state.is_world_process_zero:
            return
        if share < 1:
            self.wrote = True
        elif self.wrote:
            logger.warning(
                "step %d: the model wrote letters before and now nothing but blanks: the training has diverged. Go "
                "back to an earlier checkpoint, with a learning_rate of a third and max_grad_norm 1",
                state.global_step,
            )
        elif state.global_step <= EARLY_SHARE * state.max_steps:
            logger.info(
                "step %d: nothing but blanks yet, which is usual: most frames of speech are blank to CTC, so that "
                "this is learned first; letters come when the loss falls well below 3",
                state.global_step,
            )
        else:
            logger.warning(
                "step %d of %d: still nothing but blanks, which is late. Usual causes: a learning_rate that is too "
                "high (try a third) or too low, too few steps or too little speech for random weights (start from a "
                "checkpoint: --model_name_or_path), transcripts of other recordings (recipes/check_data.py)",
                state.global_step,
                state.max_steps,
            )


class WeightAveraging(TrainerCallback):
    """Takes the weights into the average after each optimizer step."""

    def __init__(self, average: AveragedModel, model: torch.nn.Module):
        self.average = average
        self.model = model

    def on_optimizer_step(self, args, state, control, **kwargs):
        self.average.update_parameters(self.model)


@contextmanager
def holding_average(model: torch.nn.Module, average: AveragedModel | None) -> Iterator[None]:
    """A model with the averaged weights inside, if there is an average, and its own outside."""
    if average is None or not average.n_averaged:
        yield
        return
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(average.module.state_dict())
    try:
        yield
    finally:
        model.load_state_dict(own)


def ramped_average(decay: float):
    """Exponential average whose decay grows to `decay`, so that the first, random weights are soon forgotten."""

    @torch.no_grad()
    def update(averages: list[torch.Tensor], currents: list[torch.Tensor], num_averaged: torch.Tensor) -> None:
        step = float(num_averaged)
        weight = 1 - min(decay, (1 + step) / (10 + step))
        for average, current in zip(averages, currents, strict=True):
            if average.is_floating_point():
                average.lerp_(current.to(average.dtype), weight)
            else:
                average.copy_(current)

    return update


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
                f"max_skipped_steps {self.most_in_a_row}: the training has diverged, or the numbers overflow. "
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
