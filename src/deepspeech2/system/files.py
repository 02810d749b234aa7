"""Files and folders on the disk: atomic writes, and a lock that only one run at a time can hold."""

import os
from pathlib import Path

from filelock import FileLock, Timeout

LOCK_NAME = ".lock"
_HELD: set[FileLock] = set()


def hold_folder(output_dir: Path) -> None:
    """
    Lock a folder against other runs until this process ends, in whatever way it ends.

    Raises:
        ValueError: another run holds the lock.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output_dir / LOCK_NAME, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"another run is writing to {output_dir}; wait until it ends, or use another --output_dir"
        ) from error
    _HELD.add(lock)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a small file atomically. Text is encoded as UTF-8."""
    aside = path.with_name(f"{path.name}.part")
    aside.write_bytes(content.encode() if isinstance(content, str) else content)
    sync(aside)
    aside.replace(path)


def sync(path: Path) -> None:
    """Flush a file to the disk. Otherwise a rename can reach the disk before the content of the renamed file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
