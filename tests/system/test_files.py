"""Files written whole, and folders that one process holds."""

import pytest
from filelock import FileLock

from deepspeech2.system.files import hold_folder, write_whole


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
