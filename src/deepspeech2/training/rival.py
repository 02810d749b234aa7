"""Train the rival of a run, random weights with the same budget, in a second process where a core is free for it."""

import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from ..config.arguments import RecipeTrainingArguments
from ..config.parser import parse_recipe
from ..system.devices import available_cpus
from ..system.signals import die_with_launcher
from .checkpoints import STATE_NAME
from .plan import plan_training
from .run import RIVAL, new_rival, set_up_training, train
from .start import start_run

logger = logging.getLogger(__name__)


def fits_beside(training: RecipeTrainingArguments) -> bool:
    """Return whether a run has a rival that is not trained yet, and one process on the CPU leaves cores for it."""
    return (
        training.compare_with_scratch
        and training.world_size == 1
        and training.device.type == "cpu"
        and 2 * torch.get_num_threads() <= available_cpus()
        and not (training.folder / RIVAL / STATE_NAME).is_file()
    )


@contextmanager
def rival_beside(training: RecipeTrainingArguments, argv: Sequence[str], default_config: Path) -> Iterator[None]:
    """
    Train the rival of a run while the block trains the run, if `fits_beside`, and wait for it.

    The result is that of training one after the other: the weights, the samples and their order depend on the seed.
    `train_from_random_weights` then finds the rival trained, and only scores it. If the second process fails, it
    trains the rival itself. If the block raises an error or a signal stops it, the rival stops with a checkpoint too.

    Args:
        training: the options of the run, after `set_up_training`.
        argv: the words of the run's command.
        default_config: as for `parse_recipe`.
    """
    if not fits_beside(training):
        yield
        return
    log = training.folder / f"{RIVAL}.log"
    logger.info("a second process trains random weights with the same budget meanwhile; its log is %s", log)
    command = [sys.executable, "-m", "deepspeech2.training.rival", str(default_config), *argv]
    with log.open("a", encoding="utf-8") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            yield
        except BaseException:
            process.terminate()
            raise
        if process.poll() is None:
            logger.info("waiting for the training of random weights")
        if process.wait():
            logger.warning("the second process failed, see %s; random weights are trained now, in this one", log)


def main(argv: list[str]) -> None:
    """Train the rival of the run with the words of its command. The first word is the default config file."""
    recipe = parse_recipe(argv[1:], Path(argv[0]))
    recipe.training.disable_tqdm = True
    set_up_training(recipe.training)
    die_with_launcher()
    rival = new_rival(start_run(recipe))
    train(rival, plan_training(rival))


if __name__ == "__main__":
    main(sys.argv[1:])
