"""Checkpoints on disk: written to a temporary folder and renamed when complete, so that a killed run can resume."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from transformers import TrainerState
from transformers.trainer_utils import rotate_checkpoints

from ..system.files import sync

logger = logging.getLogger(__name__)

UNFINISHED = "unfinished"
FILES_NAME = "files.json"
STATE_NAME = "trainer_state.json"
POSITION_NAME = "data_position_{rank}_of_{world_size}.pt"
MB = 1024 * 1024
FAILED_WRITES = ("os error", "failed writing", "unexpected pos")  # safetensors' and torch's own errors
ANOTHER_ORDER = (
    "%s: weights, optimizer and schedule resume from step %d, but the order of the samples starts again and differs. "
    "Some utterances of the current epoch may be used twice before others are used once. To resume exactly, set the "
    "values as before"
)


def place_aside(output_dir: Path, name: str) -> Path:
    """Return the temporary path of `name`, on the same file system, so that a rename is atomic."""
    return output_dir / UNFINISHED / name


def finish(aside: Path, name: str) -> Path:
    """
    Sync a complete folder to the disk, then rename it from its temporary path.

    Returns:
        The folder `name` of the run. It contains a list of its files and their sizes.
    """
    output_dir = aside.parent.parent
    files = sorted(path for path in aside.rglob("*") if path.is_file())
    sizes = {str(path.relative_to(aside)): path.stat().st_size for path in files}
    listed = aside / FILES_NAME
    listed.write_text(json.dumps(sizes, indent=2), encoding="utf-8")
    for path in (*files, listed, *{path.parent for path in files}, aside):
        sync(path)
    final = output_dir / name
    if final.exists():  # damaged, because the run would have resumed from a complete one
        shutil.rmtree(final)
    aside.rename(final)
    sync(output_dir)
    return final


def last_whole_checkpoint(output_dir: Path) -> Path | None:
    """Return the newest complete checkpoint: every file exists in its full size. Log the incomplete ones."""
    for folder in _checkpoints(output_dir):
        missing = _missing(folder)
        if not missing:
            return folder
        logger.warning("%s is incomplete (%s), so it is ignored", folder, ", ".join(missing[:3]))
    return None


def _checkpoints(output_dir: Path) -> list[Path]:
    """Return the checkpoints, newest first. A copy with another name is not a checkpoint."""
    numbered = [path for path in output_dir.glob("checkpoint-*") if path.name.partition("-")[2].isdecimal()]
    return sorted(numbered, key=lambda path: int(path.name.partition("-")[2]), reverse=True)


def _missing(folder: Path) -> list[str]:
    try:
        sizes = json.loads((folder / FILES_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return [f"no {FILES_NAME}, the file that is written last"]
    found = {name: (folder / name).stat().st_size for name in sizes if (folder / name).is_file()}
    return [
        f"{name} has {found[name]:,} of {size:,} bytes" if name in found else f"no {name}"
        for name, size in sizes.items()
        if found.get(name) != size
    ]


@contextmanager
def refused_pickles(checkpoint: Path | None) -> Iterator[None]:
    """
    Refuse unsafe pickles. States are loaded as numbers and tensors, and a run never writes a pickle with more.

    Raises:
        ValueError: `checkpoint` holds such a pickle.
    """
    try:
        yield
    except UnpicklingError as error:
        cause = str(error).partition("\n")[0]
        raise ValueError(
            f"a file in {checkpoint} is not the state of a run. Nothing in it was executed. {cause} Remove that "
            "folder: the same command then resumes from the previous checkpoint"
        ) from error


def save_position(folder: Path, rank: int, world_size: int, position: dict) -> None:
    """Save the position of a process in the data."""
    folder.mkdir(parents=True, exist_ok=True)  # the main process also makes it, perhaps later
    torch.save(position, folder / POSITION_NAME.format(rank=rank, world_size=world_size))


def load_position(folder: Path, rank: int, world_size: int) -> dict:
    """Load the position of this process, or any position if another number of processes wrote the checkpoint."""
    own = folder / POSITION_NAME.format(rank=rank, world_size=world_size)
    written = sorted(folder.glob(POSITION_NAME.format(rank="*", world_size="*")))
    return torch.load(own if own.is_file() else written[0], weights_only=True)


def state_of(checkpoint: str | Path) -> TrainerState:
    """Load the Trainer's state from a checkpoint, and correct the path of the best one in case the folder was moved."""
    state = TrainerState.load_from_json(str(Path(checkpoint, STATE_NAME)))
    if state.best_model_checkpoint is not None:
        state.best_model_checkpoint = str(Path(checkpoint).with_name(Path(state.best_model_checkpoint).name))
    return state


def is_complete(state: TrainerState, max_steps: int, patience: int) -> bool:
    """Return whether a checkpoint is from the last step of a training, or from the step of early stopping."""
    callbacks: dict = state.stateful_callbacks  # type: ignore[assignment]  # the type of a state that was loaded
    stopping = callbacks.get("EarlyStoppingCallback")
    waited = stopping["attributes"]["early_stopping_patience_counter"] if stopping else 0
    return state.global_step >= max_steps or 0 < patience <= waited


def changes(before: dict, now: dict) -> str:
    """Return the changed values as text, for a message."""
    return "; ".join(
        f"{name} was {before.get(name)} and is {now[name]}" for name in now if before.get(name) != now[name]
    )


def remove_unfinished(output_dir: Path) -> None:
    """Remove the temporary folders of a run that was killed, and damaged checkpoints, which rotation would keep."""
    left = sorted(path.name for path in (output_dir / UNFINISHED).glob("*"))
    damaged = [folder for folder in _checkpoints(output_dir) if _missing(folder)]
    if left or damaged:
        names = ", ".join([*left, *(folder.name for folder in damaged)])
        logger.warning("removed %s: incomplete, because the previous run was interrupted", names)
    for folder in (output_dir / UNFINISHED, *damaged, *output_dir.glob("push-*")):  # push-*: copies for the Hub
        shutil.rmtree(folder, ignore_errors=True)


def keep_newest(output_dir: Path, limit: int | None, best: str | None) -> None:
    """Remove all checkpoints except the newest `limit` (None keeps all) and the best."""
    rotate_checkpoints(str(output_dir), limit, best, use_mtime=False)


@contextmanager
def disk_errors(output_dir: Path, what: str, aside: Path | None = None) -> Iterator[None]:
    """
    Report a failed write, and remove the partial files in `aside`.

    Args:
        output_dir: the folder of the run.
        what: the name of what is written, for the message.
        aside: the temporary folder, if there is one.

    Raises:
        ValueError: the disk is full or cannot be written to. The message says how much space was free.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if not isinstance(error, OSError) and not any(words in str(error) for words in FAILED_WRITES):
            raise
        free_mb = shutil.disk_usage(output_dir).free / MB
        written_mb = 0.0
        if aside is not None:
            written_mb = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file()) / MB
            shutil.rmtree(aside, ignore_errors=True)
        last = last_whole_checkpoint(output_dir)
        go_on = f"resumes from {last.name}, which is complete" if last else "starts again: there is no checkpoint yet"
        raise ValueError(
            f"{what} could not be written to {output_dir}: {error}. {free_mb:,.0f} MB were free after "
            f"{written_mb:,.0f} MB of it were written. Free some space, or keep fewer checkpoints (save_total_limit). "
            f"The same command then {go_on}"
        ) from error
