"""The start and the end of a command: its log, its exit status, and one message for errors that the user can fix."""

import errno
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

OURS = Path(__file__).parents[1]
UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
SHARED_MEMORY = (
    "the shared memory of the data workers (/dev/shm) is full. In a container start it with --shm-size 2g, or set "
    "dataloader_num_workers 0"
)
# What torch and numpy say where the machine is too small, without an error class of its own, and what helps.
TOO_SMALL = {
    r"out of memory|can't allocate memory|Unable to allocate|Cannot allocate memory": (
        "the memory is full. Take less speech at once (a lower batch_seconds, and max_duration_s in training), or "
        "fewer data workers and processes"
    ),
    r"Bus error|[Uu]nable to (?:write|open) .*shared memory": SHARED_MEMORY,
    r"DataLoader worker .*(?:killed by signal: Killed|exited unexpectedly)": (
        "a data worker was killed, most often because the memory is full. Set a lower dataloader_num_workers, "
        "window_size or batch_seconds"
    ),
    r"Too many open files": (
        "this process may not open more files: raise the limit with `ulimit -n 8192`, or use fewer data workers"
    ),
}
MAX_SHOWN = 300  # characters of an error of another library
NOISY = ("httpx", "datasets", "absl", "matplotlib", "faster_whisper")


def end_run(program: str, error: BaseException) -> None:
    """
    End the process with the message of an error that this package raised: such a message says what to do.

    An error of a machine that is too small comes with what helps. Any other error from other code is unexpected and is
    raised again, with its traceback.

    Args:
        program: the name of the command, for the start of the message.
        error: the error that ended the command.

    Raises:
        SystemExit: with the message.
        BaseException: `error` itself, if it is unexpected.
    """
    half_written = "requested and" in str(error)  # numpy's own message, without an errno
    if isinstance(error, OSError) and (error.errno in UNWRITABLE or half_written):
        where = f", {str(error.filename)!r}" if error.filename else ""
        cause = "No space left on device" if half_written else error.strerror
        shared = "" if where or error.errno != errno.ENOSPC else f". If disks have space: {SHARED_MEMORY}"
        sys.exit(f"{program}: {cause}{where}; expected a writable folder with free space, and readable files{shared}")
    message = str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    raised_in, code = last.filename, last.line or ""
    if message.startswith("Caught ") and "Original Traceback" in message:  # torch, of an error in a data worker
        frames = re.findall(r'^  File "(.+?)", line \d+, in .+\n(?:    (.+))?', message, flags=re.MULTILINE)
        raised_in, code = frames[-1]
        message = message.rpartition(f"\n{type(error).__name__}: ")[2].strip()
    # An error of C code, such as zip or int, has the line of this package that called it: that is a bug, not a message.
    if Path(raised_in).is_relative_to(OURS) and (code.startswith("raise") or isinstance(error, OSError)):
        sys.exit(f"{program}: {message}")
    if remedy := next((one for words, one in TOO_SMALL.items() if re.search(words, str(error))), None):
        sys.exit(f"{program}: {remedy} ({' '.join(str(error).split())[:MAX_SHOWN]})")
    raise error


def set_up_log(level: int = logging.INFO) -> None:
    """Log the messages of this process from `level` on, with their time. Noisy libraries log only warnings."""
    logging.basicConfig(level=level, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def run(main: Callable[[list[str]], int | None], stopped: str = "stopped by Ctrl-C") -> None:
    """
    Run a command and end the process with its exit status, or with an error message by `end_run`.

    Args:
        main: the command. It takes the arguments after its name and returns the exit status, or None for 0.
        stopped: the message after Ctrl-C.
    """
    program = Path(sys.argv[0]).name
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
        sys.exit(status)
    except BrokenPipeError:  # `| head` has what it wanted; what is still to be printed goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(f"{program}: {stopped}")
    except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:
        end_run(program, error)
