"""Checkpoints are read without running anything that they ask for."""

import collections
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch

from deepspeech2.model.unpickler import Inert, RefusedError, read_checkpoint

TENSORS = {
    "float": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "half": torch.tensor([1.5], dtype=torch.float16),
    "long": torch.tensor(7),
    "empty": torch.zeros(0),
    "view": torch.arange(10.0)[2:8:2],
    "transposed": torch.arange(6.0).reshape(2, 3).T,
}


class Planted:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def checkpoint(path: Path, content: object, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def with_pickle(path: Path, pickled: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3")
    return path


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_come_out_as_they_went_in(tmp_path, legacy):
    content = {"state_dict": collections.OrderedDict(TENSORS), "labels": "_AB ", "epoch": 3, "nested": [(1, None, 2.5)]}
    read = read_checkpoint(checkpoint(tmp_path / "a.pth", content, legacy))
    assert {key: value for key, value in read.items() if key != "state_dict"} == {
        key: value for key, value in content.items() if key != "state_dict"
    }
    for name, tensor in TENSORS.items():
        assert read["state_dict"][name].dtype == tensor.dtype and torch.equal(read["state_dict"][name], tensor)


def test_shared_storages_and_parameters(tmp_path):
    base = torch.arange(4.0)
    content = {"a": base, "b": base[1:], "c": torch.nn.Parameter(torch.ones(2))}
    read = read_checkpoint(checkpoint(tmp_path / "a.pth", content))
    assert torch.equal(read["b"], base[1:]) and torch.equal(read["c"], torch.ones(2))
    assert read["a"].untyped_storage().data_ptr() == read["b"].untyped_storage().data_ptr()


MARKER = "planted-code-was-run"


@pytest.mark.parametrize(
    ("planted", "name"),
    [
        (Planted(os.system, f"touch {MARKER}"), "posix.system"),
        (Planted(eval, f"open('{MARKER}', 'w')"), "builtins.eval"),
        (Planted(exec, f"open('{MARKER}', 'w')"), "builtins.exec"),
        (Planted(getattr, Planted(__import__, "os"), "system"), "builtins.getattr"),
        ([{"deep": (Planted(os.mkdir, MARKER),)}], "posix.mkdir"),
        (Planted(torch.load, MARKER), "torch.serialization.load"),
        (Planted(torch.hub.load, "a/b", "c"), "torch.hub.load"),
        (Planted(torch.storage._load_from_bytes, b"x"), "torch.storage._load_from_bytes"),
        (Planted(pickle.loads, b"x"), "pickle.loads"),
        (Planted(io.open, MARKER, "w"), "io.open"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_planted_call_is_refused_by_its_name(tmp_path, monkeypatch, planted, name, legacy):
    monkeypatch.chdir(tmp_path)
    path = checkpoint(tmp_path / "bad.pth", {"state_dict": {"w": torch.ones(1)}, "extra": planted}, legacy)
    with pytest.raises(RefusedError, match=rf"asks for {name}, which no checkpoint .* Nothing was run"):
        read_checkpoint(path)
    assert [file.name for file in tmp_path.iterdir()] == ["bad.pth"]


@pytest.mark.parametrize(
    "pickled",
    [
        pickle.dumps(Planted(os.system, f"touch {MARKER}"), protocol=4),
        pickle.dumps(Planted(os.system, f"touch {MARKER}"), protocol=5),
        f"(S'touch {MARKER}'\niposix\nsystem\n.".encode(),
    ],
    ids=["protocol 4", "protocol 5", "INST"],
)
def test_a_call_that_torch_would_not_write_so_is_refused_by_its_name(tmp_path, monkeypatch, pickled):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "bad.pth", "w") as archive:
        archive.writestr("bad/data.pkl", pickled)
    with pytest.raises(RefusedError, match=r"asks for posix\.system"):
        read_checkpoint(tmp_path / "bad.pth")
    assert [file.name for file in tmp_path.iterdir()] == ["bad.pth"]


def test_a_small_file_that_unfolds_to_gigabytes_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(65 * 1024 * 1024))
    assert (tmp_path / "bomb.pth").stat().st_size < 1e6
    with pytest.raises(ValueError, match=r"68,157,440 bytes of structure .* 67,108,864 at most"):
        read_checkpoint(tmp_path / "bomb.pth")


def test_a_call_in_the_last_pickle_of_an_old_file_is_refused_too(tmp_path):
    """Behind the content of the old format the keys of the storages follow, in a pickle of their own."""
    path = checkpoint(tmp_path / "a.pth", {"epoch": 3}, legacy=True)
    keys = pickle.dumps([], protocol=2)
    content = path.read_bytes()
    assert content.endswith(keys)
    path.write_bytes(content[: -len(keys)] + pickle.dumps([Planted(os.system, f"touch {MARKER}")], protocol=2))
    with pytest.raises(RefusedError, match=r"asks for posix\.system"):
        read_checkpoint(path)


def test_inert_names_run_nothing(tmp_path, monkeypatch):
    """numpy has functions that load and run; of numpy nothing is resolved."""
    monkeypatch.chdir(tmp_path)
    pickled = b'\x80\x02cnumpy.testing._private.utils\nrunstring\n(X\x0e\x00\x00\x00open("x", "w")}tR.'
    read = read_checkpoint(with_pickle(tmp_path / "a.pth", pickled))
    assert isinstance(read, Inert) and read.arguments[0] == 'open("x", "w")'
    assert [file.name for file in tmp_path.iterdir()] == ["a.pth"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a torch checkpoint, or it is broken"),
        (b"not a checkpoint at all", "not a torch checkpoint, or it is broken"),
        (b"PK\x03\x04 half a zip", "not a torch checkpoint, or it is broken"),
        (pickle.dumps({"a": 1}), "not a torch checkpoint, or it is broken"),
        (5 * pickle.dumps({"a": 1}, protocol=2), "Invalid magic number"),
        (5 * pickle.dumps({"a": 1}, protocol=4), "instructions that torch.save does not write"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content, message):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "a.pth")
    with pytest.raises(ValueError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "b.pth")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_checkpoint_is_refused_wherever_it_ends(tmp_path, legacy):
    whole = checkpoint(tmp_path / "whole.pth", TENSORS, legacy).read_bytes()
    for end in range(0, len(whole) - 1, max(1, len(whole) // 60)):
        (tmp_path / "cut.pth").write_bytes(whole[:end])
        with pytest.raises(ValueError):
            read_checkpoint(tmp_path / "cut.pth")


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path):
    path = checkpoint(tmp_path / "a.pth", {"w": torch.arange(4.0)})
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in files if name.endswith("data.pkl"))
    files[name] = files[name].replace(b"K\x04\x85", b"K\x40\x85")  # the size (4,) becomes (64,)
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    with pytest.raises(ValueError, match="Trying to resize storage that is not resizable"):
        read_checkpoint(path)


def test_a_storage_of_another_length_than_it_says_is_refused(tmp_path):
    path = checkpoint(tmp_path / "a.pth", {"w": torch.arange(4.0)}, legacy=True)
    content = path.read_bytes()
    path.write_bytes(content[:-24] + struct.pack("<q", 5) + content[-16:])
    with pytest.raises(ValueError, match="storage has wrong byte size"):
        read_checkpoint(path)
    path = checkpoint(tmp_path / "a.pth", {"w": torch.arange(4.0)})
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content[:4] if file.endswith("data/0") else content)
    with pytest.raises(ValueError, match=r"record size \(4 bytes\) does not match expected size \(16 bytes"):
        read_checkpoint(path)


def test_a_default_dictionary_is_read_without_its_factory(tmp_path):
    content = collections.defaultdict(list, {"a": [1]})
    assert read_checkpoint(checkpoint(tmp_path / "a.pth", {"state_dict": content})) == {"state_dict": {"a": [1]}}
