"""
Python programs by a fork of a process that has imported torch, transformers and this package: the 4 to 10 s of imports
are paid once, not by every launcher and every rank.

Only `exec` is missing. Arguments, environment, working directory, output, signals and exit status are those of a real
process, and `accelerate launch` is accelerate's own, torch's agent included. What a library reads from the environment
while it is imported is that of the tests: a test that sets such a variable needs `subprocess`.
"""

import atexit
import concurrent.futures.thread
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO

PRELOAD = [
    "accelerate.commands.launch",
    "torch.distributed.run",
    "deepspeech2.decoding.tuning",
    "deepspeech2.evaluation.strategies",
    "deepspeech2.inference.transcription",
    "deepspeech2.training.data_check.check",
    "deepspeech2.training.hub",
    "deepspeech2.training.results",
    "deepspeech2.training.run",
]
FEW_LOCAL_SHARDS = 4  # of a list, instead of one for each row: to open one takes longer than to read its rows
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(PRELOAD)
_context: multiprocessing.context.BaseContext = SERVER
_words: list[str] = []  # the command line of this process, if it was forked


@atexit.register
def _end_all() -> None:
    """What a failed test left running; multiprocessing would wait for it."""
    for process in multiprocessing.active_children():
        process.kill()


class Forked:
    """What is used here of `subprocess.Popen`, for `[python, ...]` and `[accelerate, launch, ...]`."""

    def __init__(
        self,
        args: Sequence[str | Path],
        env: dict[str, str] | None = None,
        stdout: IO | None = None,
        stderr: IO | int | None = None,
        cwd: Path | None = None,
        start_new_session: bool = False,
    ):
        """The output is appended to the files. None: to the parent's. `subprocess.STDOUT`: to the file of stdout."""
        if stderr == subprocess.STDOUT:
            stderr = stdout
        files = [file and str(Path(file.name).resolve()) for file in (stdout, stderr)]
        words = [str(word) for word in args]
        given = (words, _words, dict(env or os.environ), files, str(cwd or Path.cwd()), start_new_session)
        self.process = _context.Process(target=_become, args=given)
        self.process.start()
        self.pid: int = self.process.pid

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *error: object) -> None:
        self.wait()

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout or float("inf"))
        while (status := self.process.exitcode) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.process.join(0.05)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(command: Sequence[str | Path], env: dict[str, str] | None = None, cwd: Path | None = None):
    """`subprocess.run(command, capture_output=True, text=True)`."""
    with tempfile.NamedTemporaryFile("r") as stdout, tempfile.NamedTemporaryFile("r") as stderr:
        status = Forked(command, env, stdout, stderr, cwd).wait()
        return subprocess.CompletedProcess(command, status, stdout.read(), stderr.read())


def _become(
    words: list[str],
    launcher: list[str],
    env: dict[str, str],
    files: list[str | None],
    folder: str,
    start_new_session: bool,
) -> None:
    """What the interpreter does with a command line. What this process starts in turn is forked from it."""
    global _context, _words
    _context, _words = multiprocessing.get_context("fork"), words
    concurrent.futures.thread._threads_queues.clear()  # a fork has not the other threads, which its end would wait for
    if start_new_session:
        with suppress(PermissionError):
            os.setsid()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    for descriptor, name in zip((1, 2), files, strict=True):
        if name:
            opened = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.dup2(opened, descriptor)
            os.close(opened)
    sys.stdout.reconfigure(line_buffering=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    from accelerate.commands import accelerate_cli
    from accelerate.commands import launch as accelerate_launch
    from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

    from deepspeech2.data import corpora
    from deepspeech2.evaluation import strategies
    from deepspeech2.system import launch

    corpora.MAX_LOCAL_SHARDS = FEW_LOCAL_SHARDS
    subprocess_handler.Popen = Forked
    for module in (accelerate_launch, strategies):
        module.subprocess = SimpleNamespace(Popen=Forked, CalledProcessError=subprocess.CalledProcessError)

    # The system shows the command line of the fork server for all of them.
    parent = SimpleNamespace(cmdline=lambda: launcher)
    launch.psutil = SimpleNamespace(Process=lambda: SimpleNamespace(parent=lambda: parent))

    if Path(words[0]).name == "accelerate":
        sys.argv = words
        accelerate_cli.main()
        return
    words = [word for word in words[1:] if word != "-u"]
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "-c", "exec"), {"__name__": "__main__"})
    elif words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, folder)
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")
