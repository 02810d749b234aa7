"""Files and folders on the disk: written whole or not at all, held by one run at a time."""

import os
from pathlib import Path

from filelock import FileLock, Timeout

LOCK_NAME = ".lock"
_HELD: set[FileLock] = set()


def hold_folder(output_dir: Path) -> None:
    """
    Keeps other runs out of a folder for as long as this process lives, however it ends.

    Raises:
        ValueError: another run holds it.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output_dir / LOCK_NAME, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"another run is writing to {output_dir}: wait for it to end, or name another --output_dir"
        ) from error
    _HELD.add(lock)


def write_whole(path: Path, content: str | bytes) -> None:
    """A small file, as a whole or not at all; text in UTF-8."""
    aside = path.with_name(f"{path.name}.part")
    aside.write_bytes(content.encode() if isinstance(content, str) else content)
    sync(aside)
    aside.replace(path)


def sync(path: Path) -> None:
    """To the disk itself: a rename may get there before what was renamed."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
