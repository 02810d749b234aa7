"""Trainers of a tiny model, and what they left."""

from pathlib import Path

import torch
from torch.utils.data import IterableDataset
from transformers import TrainerCallback

import forked
import tiny
from deepspeech2.training.trainer import CTCTrainer

# A step that is the gradient itself.
ONE_STEP = {
    "max_steps": 1,
    "optim": "sgd",
    "learning_rate": 1.0,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0,
    "weight_decay": 0,
}


class Repeated(IterableDataset):
    """The same prepared batches over and over."""

    def __init__(self, batches: list[dict]):
        self.batches = batches

    def __iter__(self):
        while True:
            yield from self.batches

    def order(self):
        return {}


class Stopped(Exception):
    """The power went."""


class StopAfterSave(TrainerCallback):
    def __init__(self, step: int):
        self.step = step

    def on_save(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Stopped


def part(batch: dict, start: int, stop: int) -> dict:
    return {name: value[start:stop] for name, value in batch.items()}


def new_trainer(folder, train, evaluation=None, sizes=None, **options) -> CTCTrainer:
    """Trains `train`: prepared batches, or the path of a manifest, which is also scored."""
    steps_per_epoch = options.pop("steps_per_epoch", None)
    torch.manual_seed(1)
    model, processor = tiny.new_model(**(sizes or {}))
    args = tiny.training_arguments(folder, **options)
    if isinstance(train, Path):
        stream, evaluation = tiny.streams(train, model, processor, args)
    else:
        stream = Repeated(train)
    return CTCTrainer(model, args, processor, stream, evaluation, steps_per_epoch)


def weights(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def logged(trainer: CTCTrainer, name: str) -> list[float]:
    return [line[name] for line in trainer.state.log_history if name in line]


def run_on_two_ranks(script: str, folder: Path, *words: str) -> None:
    """Run a script with `folder` as its first argument in two CPU processes; it may import the tests of its module."""
    (folder / "script.py").write_text(script)
    config = Path(__file__).resolve().parents[1] / "accelerate_configs" / "cpu_ddp.yaml"
    command = ["accelerate", "launch", "--config_file", str(config), "script.py", str(folder)]
    done = forked.run([*command, *words], cwd=folder)
    assert done.returncode == 0, done.stderr
