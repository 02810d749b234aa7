"""Train the rival of a run, random weights with the same budget, in a second process where a core is free for it."""

import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from ..config.arguments import Recipe
from ..config.parser import parse_recipe
from ..system.devices import available_cpus
from ..system.files import hold_folder
from ..system.signals import die_with_launcher
from .checkpoints import STATE_NAME
from .plan import plan_training
from .run import RIVAL, new_rival, set_up_training, train
from .start import start_run

logger = logging.getLogger(__name__)


def fits_beside(recipe: Recipe) -> bool:
    """
    Return whether a run has a rival that is not trained yet, and one process on the CPU leaves cores for it. The speech
    of a grammar is the run's own, so its rival is trained after it.
    """
    training = recipe.training
    return (
        not recipe.commands.grammar
        and training.compare_with_scratch
        and training.world_size == 1
        and training.device.type == "cpu"
        and 2 * torch.get_num_threads() <= available_cpus()
        and not (training.folder / RIVAL / STATE_NAME).is_file()
    )


@contextmanager
def rival_beside(recipe: Recipe, argv: Sequence[str], default_config: Path) -> Iterator[None]:
    """
    Train the rival of a run while the block trains the run, if `fits_beside`, and wait for it.

    The result is that of training one after the other: the weights, the samples and their order depend on the seed.
    `train_from_random_weights` then finds the rival trained, and only scores it. If the second process fails, it
    trains the rival itself. If the block raises an error or a signal stops it, the rival stops with a checkpoint too.

    Args:
        recipe: the recipe of the run, after `set_up_training`.
        argv: the words of the run's command.
        default_config: as for `parse_recipe`.
    """
    if not fits_beside(recipe):
        yield
        return
    training = recipe.training
    log = training.folder / f"{RIVAL}.log"
    logger.info("a second process trains random weights with the same budget meanwhile; its log is %s", log)
    command = [sys.executable, "-m", "deepspeech2.training.rival", str(default_config), *argv]
    # In a session of its own: a terminal's Ctrl-C would come beside the SIGTERM below, and a second one stops at once.
    start = partial(subprocess.Popen, command, stderr=subprocess.STDOUT, start_new_session=True)
    with log.open("a", encoding="utf-8") as file, start(stdout=file) as process:
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
    die_with_launcher()
    recipe = parse_recipe(argv[1:], Path(argv[0]))
    recipe.training.disable_tqdm = True
    set_up_training(recipe.training)
    rival = new_rival(start_run(recipe))
    hold_folder(rival.recipe.training.folder)
    train(rival, plan_training(rival))


if __name__ == "__main__":
    main(sys.argv[1:])
