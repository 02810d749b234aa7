"""The end of a command: what helps, where the machine is too small; tests/training/test_run.py has the other errors."""

import importlib

import pytest

from deepspeech2.system.command_line import end_run, run


def raised(error: Exception) -> Exception:
    """The error with a traceback, of other code than the package's."""
    try:
        raise error
    except type(error) as found:
        return found


@pytest.mark.parametrize(
    ("error", "help"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..."), "lower batch_seconds"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "lower batch_s"),
        (MemoryError("Unable to allocate 9.31 GiB for an array with shape (1250000000,)"), "lower batch_seconds"),
        (OSError(12, "Cannot allocate memory"), "lower batch_seconds"),
        (
            RuntimeError("DataLoader worker (pid 9) is killed by signal: Bus error. It is possible that ..."),
            "--shm-size",
        ),
        (RuntimeError("DataLoader worker (pid 9) is killed by signal: Killed. "), "a data worker was killed"),
        (RuntimeError("DataLoader worker (pid(s) 9, 10) exited unexpectedly"), "a data worker was killed"),
        (OSError(24, "Too many open files", "a.wav"), "ulimit -n 8192"),
        (
            RuntimeError(
                "Caught MemoryError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
                '  File "/x/numpy.py", line 2, in f\nMemoryError: Unable to allocate 1 GiB\n'
            ),
            "lower batch_seconds",
        ),
    ],
)
def test_a_machine_that_is_too_small_gets_the_remedy_and_the_cause(error, help):
    with pytest.raises(SystemExit) as ended:
        end_run("finetune.py", raised(error))
    message = str(ended.value.code)
    assert message.startswith("finetune.py: ") and help in message and " ".join(str(error).split())[:60] in message


def test_another_error_keeps_its_traceback(monkeypatch):
    def work(words: list[str]) -> int:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr("sys.argv", ["recipes/score.py"])
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        run(work)


def test_a_full_device_without_a_name_may_be_the_shared_memory():
    with pytest.raises(SystemExit, match=r"No space left on device; .* If disks have space: .*--shm-size 2g"):
        end_run("finetune.py", raised(OSError(28, "No space left on device")))
    with pytest.raises(SystemExit, match=r"No space left on device, 'out/x'; expected .* files$"):
        end_run("finetune.py", raised(OSError(28, "No space left on device", "out/x")))


def test_a_message_of_this_package_needs_no_traceback_but_its_bugs_do(monkeypatch, tmp_path):
    """What Python itself says on a line of the package tells a user nothing."""
    (tmp_path / "own_code.py").write_text(
        "def ask():\n    raise ValueError(\n        'a is 0; expected 1'\n    )\n\n\n"
        "def pair():\n    list(zip([1], [], strict=True))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("deepspeech2.system.command_line.OURS", tmp_path)
    own_code = importlib.import_module("own_code")
    monkeypatch.setattr("sys.argv", ["recipes/score.py"])
    with pytest.raises(SystemExit, match=r"score.py: a is 0; expected 1"):
        run(lambda words: own_code.ask())
    with pytest.raises(ValueError, match=r"zip\(\)"):
        run(lambda words: own_code.pair())
