"""Files and folders on the disk: atomic writes, and a lock that only one run at a time can hold."""

import os
import re
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
    """Write a small file atomically. Text is encoded as UTF-8. If it cannot be written, nothing is left of it."""
    raw = content.encode() if isinstance(content, str) else content
    aside = path.with_name(f"{path.name}.part")
    try:
        aside.write_bytes(raw)
        sync(aside)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def printable(name: str | Path) -> str:
    r"""
    Return a name that a message and a file can hold. Bytes that are not UTF-8, which Python has as surrogates, become
    `\xe9`.

    Two different names stay different, unless one of them has such a backslash itself.
    """
    return str(name) if str(name).isascii() else re.sub("[\ud800-\udfff]", _escape, str(name))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def sync(path: Path) -> None:
    """Flush a file to the disk. Otherwise a rename can reach the disk before the content of the renamed file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
