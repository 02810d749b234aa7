"""What the Trainer does beside its steps: the progress bar, true epochs, the watch for blanks, the average."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.optim.swa_utils import AveragedModel
from transformers import ProgressCallback, TrainerCallback

logger = logging.getLogger(__name__)

EARLY_SHARE = 0.3  # of the training, in which nothing but blanks is usual


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
                "step %d: the model wrote letters before and now nothing but blanks: the training has come apart. Go "
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
