"""Checkpoints on the disk: written aside and renamed when whole, so that a run that was killed finds a good one."""

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
    "%s: weights, optimizer and schedule go on from step %d, but not the order of the samples: it begins anew, another "
    "one, so that some utterances of the epoch under way are trained on again before others were once. Set as before, "
    "the run would go on exactly"
)


def place_aside(output_dir: Path, name: str) -> Path:
    """Where `name` is written before it is whole: on the same file system, where a rename is one step."""
    return output_dir / UNFINISHED / name


def finish(aside: Path, name: str) -> Path:
    """
    Renames a complete folder out of its place aside, once all of it is on the disk.

    Returns:
        The folder `name` of the run. A list of its files with their sizes lies in it.
    """
    output_dir = aside.parent.parent
    files = sorted(path for path in aside.rglob("*") if path.is_file())
    sizes = {str(path.relative_to(aside)): path.stat().st_size for path in files}
    listed = aside / FILES_NAME
    listed.write_text(json.dumps(sizes, indent=2), encoding="utf-8")
    for path in (*files, listed, *{path.parent for path in files}, aside):
        sync(path)
    final = output_dir / name
    if final.exists():  # damaged: a whole one would have been resumed from
        shutil.rmtree(final)
    aside.rename(final)
    sync(output_dir)
    return final


def last_whole_checkpoint(output_dir: Path) -> Path | None:
    """The newest checkpoint of which every file is there, in its size; those that are not are named in the log."""
    for folder in _checkpoints(output_dir):
        missing = _missing(folder)
        if not missing:
            return folder
        logger.warning("%s is not whole (%s): skipped", folder, ", ".join(missing[:3]))
    return None


def _checkpoints(output_dir: Path) -> list[Path]:
    """The newest first; a copy that somebody has named otherwise is none."""
    numbered = [path for path in output_dir.glob("checkpoint-*") if path.name.partition("-")[2].isdecimal()]
    return sorted(numbered, key=lambda path: int(path.name.partition("-")[2]), reverse=True)


def _missing(folder: Path) -> list[str]:
    try:
        sizes = json.loads((folder / FILES_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return [f"no {FILES_NAME}, which is written last"]
    found = {name: (folder / name).stat().st_size for name in sizes if (folder / name).is_file()}
    return [
        f"{name} has {found[name]:,} of {size:,} bytes" if name in found else f"no {name}"
        for name, size in sizes.items()
        if found.get(name) != size
    ]


@contextmanager
def refused_pickles(checkpoint: Path | None) -> Iterator[None]:
    """
    States are read as numbers and tensors; a pickle that asks for more was not written by a run.

    Raises:
        ValueError: `checkpoint` holds one.
    """
    try:
        yield
    except UnpicklingError as error:
        cause = str(error).partition("\n")[0]
        raise ValueError(
            f"a file of {checkpoint} is not the state of a run, and nothing in it was executed: {cause} Remove that "
            "folder; the same command then goes on from the checkpoint before"
        ) from error


def save_position(folder: Path, rank: int, world_size: int, position: dict) -> None:
    """A process's place in the data."""
    folder.mkdir(parents=True, exist_ok=True)  # the main process, which makes it, may come later
    torch.save(position, folder / POSITION_NAME.format(rank=rank, world_size=world_size))


def load_position(folder: Path, rank: int, world_size: int) -> dict:
    """That of this process; of any other one where the checkpoint was written by another number of them."""
    own = folder / POSITION_NAME.format(rank=rank, world_size=world_size)
    written = sorted(folder.glob(POSITION_NAME.format(rank="*", world_size="*")))
    return torch.load(own if own.is_file() else written[0], weights_only=True)


def state_of(checkpoint: str | Path) -> TrainerState:
    """The Trainer's log in a checkpoint, with the best one where it is now: the run's folder may have been moved."""
    state = TrainerState.load_from_json(str(Path(checkpoint, STATE_NAME)))
    if state.best_model_checkpoint is not None:
        state.best_model_checkpoint = str(Path(checkpoint).with_name(Path(state.best_model_checkpoint).name))
    return state


def is_complete(state: TrainerState, max_steps: int, patience: int) -> bool:
    """Whether a checkpoint is that of a training's last step, or of the one at which early stopping ended it."""
    callbacks: dict = state.stateful_callbacks  # type: ignore[assignment]  # of a state that was read from its file
    stopping = callbacks.get("EarlyStoppingCallback")
    waited = stopping["attributes"]["early_stopping_patience_counter"] if stopping else 0
    return state.global_step >= max_steps or 0 < patience <= waited


def changes(before: dict, now: dict) -> str:
    """What is not as it was, for a sentence."""
    return "; ".join(f"{name} was {before[name]} and is {now[name]}" for name in now if before[name] != now[name])


def remove_unfinished(output_dir: Path) -> None:
    """What a run that was killed while saving has left, and damaged checkpoints, which a rotation would keep as new."""
    left = sorted(path.name for path in (output_dir / UNFINISHED).glob("*"))
    damaged = [folder for folder in _checkpoints(output_dir) if _missing(folder)]
    if left or damaged:
        names = ", ".join([*left, *(folder.name for folder in damaged)])
        logger.warning("%s was not whole when the run before ended: removed", names)
    for folder in (output_dir / UNFINISHED, *damaged, *output_dir.glob("push-*")):  # copies for the Hub
        shutil.rmtree(folder, ignore_errors=True)


def keep_newest(output_dir: Path, limit: int | None, best: str | None) -> None:
    """Removes all checkpoints but the newest `limit` (None: all stay) and the best."""
    rotate_checkpoints(str(output_dir), limit, best, use_mtime=False)


@contextmanager
def disk_errors(output_dir: Path, what: str, aside: Path | None = None) -> Iterator[None]:
    """
    What cannot be written leaves nothing half-written `aside`; `what` it is goes into the message.

    Raises:
        ValueError: the disk is full, or refuses to be written to; with what is left on it.
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
        go_on = f"goes on from {last.name}, which is whole" if last else "starts anew: there is no checkpoint yet"
        raise ValueError(
            f"{what} could not be written to {output_dir}: {error}. {free_mb:,.0f} MB were free there when "
            f"{written_mb:,.0f} MB of it were written. Make room, or keep fewer checkpoints (save_total_limit); "
            f"the same command then {go_on}"
        ) from error
