"""Callbacks of the Trainer: progress bar, true epochs, the check for blank output, averaging, skipped steps."""

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

EARLY_SHARE = 0.3  # up to this share of the training, output of only blanks is normal
FILE_NAME = "skipped_steps.jsonl"
NUM_SHOWN = 8


class CTCProgress(ProgressCallback):
    """The progress bar, with loss, WER and seconds of audio per second."""

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
    """Log true epochs, because Trainer itself sees one endless epoch."""

    def __init__(self, steps_per_epoch: float):
        self.steps_per_epoch = steps_per_epoch

    def on_step_end(self, args, state, control, **kwargs):
        state.epoch = state.global_step / self.steps_per_epoch


class LogAtCheckpoint(TrainerCallback):
    """Log at each checkpoint. A logged loss is a mean since the last log, and a checkpoint does not store that mean."""

    def on_step_end(self, args, state, control, **kwargs):
        control.should_log |= control.should_save


class DropReport(TrainerCallback):
    """Report dropped utterances: the first ones at the next log line, further ones at each evaluation."""

    def __init__(self, stream):
        self.stream = stream
        self.said = stream.drop_summary()
        self.dropped = bool(stream.drop_counts())

    def on_log(self, args, state, control, **kwargs):
        if not self.dropped:  # reading the records is cheap until the first report
            self._say(state)

    def on_evaluate(self, args, state, control, **kwargs):
        self._say(state)

    def _say(self, state):
        if state.is_world_process_zero and (summary := self.stream.drop_summary()) != self.said:
            self.said, self.dropped = summary, True
            logger.warning("training data: %s", summary)


class BlankWatch(TrainerCallback):
    """Report when a model predicts only blanks. Early in training this is normal. Later the message says what to do."""

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
                "step %d: the model predicted letters before and now predicts only blanks: the training has diverged. "
                "Go back to an earlier checkpoint, with a third of the learning_rate and max_grad_norm 1",
                state.global_step,
            )
        elif state.global_step <= EARLY_SHARE * state.max_steps:
            logger.info(
                "step %d: the model predicts only blanks so far, which is normal. To CTC most frames are blank, so "
                "the model learns this first. Letters appear when the loss falls well below 3",
                state.global_step,
            )
        else:
            logger.warning(
                "step %d of %d: the model still predicts only blanks, which is late. Usual causes: a learning_rate "
                "that is too high (try a third) or too low; too few steps or too little speech for random weights "
                "(start from a checkpoint: --model_name_or_path); transcripts that belong to other recordings (run "
                "recipes/check_data.py)",
                state.global_step,
                state.max_steps,
            )


class WeightAveraging(TrainerCallback):
    """Update the average of the weights after each optimizer step."""

    def __init__(self, average: AveragedModel, model: torch.nn.Module):
        self.average = average
        self.model = model

    def on_optimizer_step(self, args, state, control, **kwargs):
        self.average.update_parameters(self.model)


@contextmanager
def holding_average(model: torch.nn.Module, average: AveragedModel | None) -> Iterator[None]:
    """Give the model the averaged weights inside the context, if there is an average, and restore its own after it."""
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
    """Return an exponential average whose decay grows to `decay`, so that the first, random weights fade quickly."""

    @torch.no_grad()
    def update(averages: list[torch.Tensor], currents: list[torch.Tensor], num_averaged: torch.Tensor) -> None:
        weight = 1 - ((1 + num_averaged) / (10 + num_averaged)).clamp(max=decay)  # a number would wait for the GPU
        for average, current in zip(averages, currents, strict=True):
            if average.is_floating_point():
                average.lerp_(current.to(average.dtype), weight.to(average.dtype))
            else:
                average.copy_(current)

    return update


class SkippedSteps:
    """
    The record of optimizer steps that were skipped because of a non-finite gradient.

    Each is a line of JSON with the ids of its utterances.

    Args:
        folder: the folder of the run.
        most_in_a_row: the training stops after more skipped steps in a row.
        writes: whether this process writes the record. The others only read it.
    """

    def __init__(self, folder: Path, most_in_a_row: int, writes: bool):
        self.path, self.most_in_a_row, self.writes = folder / FILE_NAME, most_in_a_row, writes
        self.steps: list[int] = []

    def begin(self, step: int) -> None:
        """Start the record, or resume it after `step`: later entries are removed, because those steps run again."""
        lines = []
        if self.path.is_file():
            # Text after the last line feed is an incomplete line. splitlines could also split inside an id.
            lines = self.path.read_text(encoding="utf-8").split("\n")[:-1]
            lines = [line for line in lines if json.loads(line)["step"] <= step]
            if self.writes:
                write_whole(self.path, "".join(f"{line}\n" for line in lines))
        self.steps = [json.loads(line)["step"] for line in lines]

    def add(self, step: int, ids: Sequence[str]) -> None:
        """
        Record a skipped step.

        Raises:
            ValueError: more than `most_in_a_row` steps in a row were skipped.
        """
        self.steps.append(step)
        if self.writes:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "ids": list(ids)}, ensure_ascii=False) + "\n")
        shown = ", ".join(ids[:NUM_SHOWN]) + (f" and {len(ids) - NUM_SHOWN} more" if len(ids) > NUM_SHOWN else "")
        logger.warning(
            "step %d skipped: non-finite gradient from the utterances %s (%s lists all)", step, shown, self.path
        )
        if self.in_a_row() > self.most_in_a_row:
            raise ValueError(
                f"{self.in_a_row()} steps in a row, up to step {step}, had a non-finite gradient, more than "
                f"max_skipped_steps {self.most_in_a_row}: the training has diverged, or the numbers overflow. "
                "Try a third of the learning_rate, more warmup_steps, max_grad_norm 1, or bf16 or float32 instead of "
                f"fp16. recipes/check_data.py checks the recordings, and {self.path} lists the utterances"
            )

    def in_a_row(self) -> int:
        """Return how many consecutive steps were skipped, up to the last skipped one."""
        count = 1
        while count < len(self.steps) and self.steps[-count - 1] == self.steps[-1] - count:
            count += 1
        return count if self.steps else 0


def skipped_steps(folder: Path) -> int:
    """Return how many steps the run in a folder has skipped."""
    path = folder / FILE_NAME
    return path.read_text(encoding="utf-8").count("\n") if path.is_file() else 0


class Buffers:
    """A copy of a model's running statistics, which one forward pass with infinite values would ruin for good."""

    def __init__(self, model: nn.Module):
        self._kept = [(buffer, buffer.clone()) for buffer in model.buffers()]

    def put_back(self) -> None:
        for buffer, kept in self._kept:
            buffer.copy_(kept)
