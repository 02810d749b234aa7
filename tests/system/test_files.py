"""Files written whole, and folders that one process holds."""

import errno
import fcntl
import os

import pytest
from filelock import FileLock

from deepspeech2.system.files import hold_folder, sync, write_whole


def test_a_small_file_is_replaced_as_a_whole(tmp_path):
    for content in ("one", b"\x00\xff", "zwölf\n"):
        write_whole(tmp_path / "file", content)
        expected = content.encode() if isinstance(content, str) else content
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", expected)]


def test_a_folder_is_held_by_one_process(tmp_path):
    hold_folder(tmp_path)
    hold_folder(tmp_path)  # the same process may
    other = tmp_path / "other"
    other.mkdir()
    with (
        FileLock(other / ".lock"),
        pytest.raises(ValueError, match=r"another run is writing to .*other; wait until it ends"),
    ):
        hold_folder(other)


@pytest.fixture
def answers(monkeypatch):
    """Makes a system call fail with an error number, as a network drive does."""

    def fail(module, name: str, number: int) -> None:
        def call(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(module, name, call)

    return fail


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_drive_without_locks_is_used_with_a_warning(tmp_path, answers, caplog, number):
    answers(fcntl, "flock", number)
    hold_folder(tmp_path / "run")
    assert f"has no locks ({os.strerror(number)})" in caplog.text and "start only one" in caplog.text


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_lock_that_outlives_its_machine_comes_with_the_remedy(tmp_path, answers):
    """Where flock is missing altogether, filelock writes a file in its place."""
    answers(fcntl, "flock", errno.ENOSYS)
    (tmp_path / ".lock").write_text("1\nanother-machine\n")
    with pytest.raises(
        ValueError, match=r"another run is writing to .*\. If its machine has gone down, remove .*\.lock"
    ):
        hold_folder(tmp_path)


def test_another_error_of_a_lock_is_an_error(tmp_path, answers):
    answers(fcntl, "flock", errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        hold_folder(tmp_path / "run")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF])
def test_a_folder_that_cannot_be_flushed_is_left_to_its_drive(tmp_path, answers, number):
    (tmp_path / "file").write_text("a")
    answers(os, "fsync", number)
    sync(tmp_path)
    with pytest.raises(OSError, match=os.strerror(number)):
        sync(tmp_path / "file")
