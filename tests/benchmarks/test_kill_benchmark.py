"""benchmarks/kill.py: its folder is emptied only if this benchmark filled it."""

from pathlib import Path

import kill
import pytest


def test_what_another_wrote_stays(tmp_path: Path) -> None:
    kill.clear(tmp_path / "new" / "folder")
    own, other = tmp_path / "own", tmp_path / "other"
    for folder, names in ((own, ["log.txt", "kill.md", "whole/model"]), (other, ["log.txt", "killed/x", "thesis"])):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("text")
    kill.clear(own)
    assert list(own.iterdir()) == list((tmp_path / "new" / "folder").iterdir()) == []
    with pytest.raises(SystemExit, match=r"did not write \(killed, log.txt, thesis\); expected a new or empty folder"):
        kill.clear(other)
    (other / "log.txt").unlink()
    (other / "thesis").unlink()
    with pytest.raises(SystemExit, match=r"did not write \(killed\)"):
        kill.clear(other)
    assert (other / "killed" / "x").is_file()
