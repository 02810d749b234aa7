"""The log of a recipe: one line for each message, without the chatter of libraries."""

import logging

NOISY = ("httpx", "datasets", "absl", "matplotlib")


def set_up_log(level: int = logging.INFO) -> None:
    """Messages of this process from `level` on, with their time; of the noisy libraries, warnings."""
    logging.basicConfig(level=level, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
