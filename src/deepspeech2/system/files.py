"""Files and folders on the disk: atomic writes, and a lock that only one run at a time can hold."""

import errno
import logging
import os
import re
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

logger = logging.getLogger(__name__)

LOCK_NAME = ".lock"
LFS_POINTER = b"version https://git-lfs"  # how a file of a clone without Git LFS begins
# What file systems without these operations answer, such as network drives.
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # filelock itself replaces a missing flock (ENOSYS)
NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)
_HELD: set[FileLock] = set()


def hold_folder(output_dir: Path) -> None:
    """
    Lock a folder against other runs until this process ends, in whatever way it ends.

    A file system without locks is used without one, with a warning.

    Raises:
        ValueError: another run holds the lock.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output_dir / LOCK_NAME, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        # Without locks of the file system, the lock is a file that outlives a machine.
        gone = f". If its machine has gone down, remove {lock.lock_file}" if isinstance(lock, SoftFileLock) else ""
        raise ValueError(
            f"another run is writing to {output_dir}; wait until it ends, or use another --output_dir{gone}"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        logger.warning(
            "the file system of %s has no locks (%s), so nothing stops a second run there: start only one",
            output_dir,
            error.strerror,
        )
        return
    _HELD.add(lock)


def has_started(output_dir: Path) -> bool:
    """Return whether the folder holds a checkpoint or a result of a run, from which the same command resumes."""
    return (output_dir / "model.safetensors").is_file() or any(output_dir.glob("checkpoint-*"))


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


def read_plain_text(path: Path) -> str:
    """
    Read a text file in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: the file is missing, cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"there is no file {str(path)!r}; expected plain text in UTF-8") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {str(path)!r} as plain text in UTF-8: {error}") from error


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
    """
    Flush a file or folder to the disk. Otherwise a rename can reach the disk before the content of the renamed file.

    Some network drives and FUSE file systems cannot flush a folder. They keep their own order.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not path.is_dir() or error.errno not in NO_SYNC:
            raise
    finally:
        os.close(descriptor)
