"""Checkpoints that `torch.save` wrote, read without executing anything in them.

A pickle is a program that may call whatever it names. Here a short list of names is resolved, to code of this module;
names of libraries that checkpoints of deepspeech.pytorch mention become inert objects that only remember what they were
given; any other name refuses the file.

>>> read_checkpoint(Path("librispeech_pretrained_v2.pth"))["labels"]
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

# What checkpoints hold beside tensors: configurations, enumerations, optimiser and trainer states.
INERT_ROOTS = {
    "deepspeech_pytorch",
    "omegaconf",
    "hydra",
    "pytorch_lightning",
    "lightning",
    "typing",
    "numpy",
    "argparse",
}
INERT_NAMES = {
    "collections.defaultdict",
    "collections.Counter",
    "_operator.getitem",
    "pathlib.Path",
    "pathlib.PosixPath",
    "torch.nn.modules.rnn.LSTM",
    "torch.nn.modules.rnn.GRU",
    "torch.nn.modules.rnn.RNN",
    *(
        f"builtins.{name}"
        for name in ("dict", "list", "tuple", "set", "int", "long", "float", "str", "bool", "Ellipsis", "object")
    ),
}
STORAGE_TYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
MAGIC_NUMBER, PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001  # of torch's format before 1.6


class Inert:
    """Stands for an object of a class that is not loaded: `arguments` it was called with, `state`, `items`."""

    def __new__(cls, *arguments: Any, **named: Any) -> Inert:
        inert = super().__new__(cls)
        inert.arguments, inert.state, inert.items = arguments, None, {}
        return inert

    arguments: tuple[Any, ...]
    state: Any
    items: dict[Any, Any]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, value: Any) -> None:
        self.items[len(self.items)] = value

    def extend(self, values: Any) -> None:
        for value in values:
            self.append(value)

    def __hash__(self) -> int:
        return id(self)


class RefusedError(ValueError):
    """A checkpoint that asks for something that is not needed to read weights."""


def read_checkpoint(path: Path) -> Any:
    """
    The content of a `.pth` or `.ckpt` file, in torch's zip format or the one before: tensors on the CPU, and what is
    not known as `Inert`.

    Raises:
        ValueError: no such file, no checkpoint, a truncated one.
        RefusedError: the file names something that it has no business with; says what.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {str(path)!r} (the current folder is {str(Path.cwd())!r})")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _read_zip(archive, path)
        with path.open("rb") as file:
            return _read_legacy(file, path)
    except RefusedError:
        raise
    except (pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, LookupError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a checkpoint of torch: {error!r}") from error
    except (AttributeError, TypeError, ValueError, MemoryError, OverflowError, RuntimeError) as error:
        raise ValueError(f"{str(path)!r} is no checkpoint of torch, or a broken one: {error}") from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, path: Path, load_storage: Callable[[tuple[Any, ...]], torch.Tensor]) -> None:
        super().__init__(file, encoding="utf-8")
        self._path, self._load_storage = path, load_storage

    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module  # as Python 2 and old protocols call it
        full = f"{module}.{name}"
        if full == "collections.OrderedDict":
            return OrderedDict
        if full == "torch._utils._rebuild_tensor_v2":
            return _rebuild_tensor
        if full == "torch._utils._rebuild_parameter":
            return _rebuild_parameter
        if module == "torch" and name in STORAGE_TYPES:
            return STORAGE_TYPES[name]
        if module.split(".")[0] in INERT_ROOTS or full in INERT_NAMES:
            return type(name, (Inert,), {"__module__": f"inert.{module}"})
        raise RefusedError(
            f"{str(self._path)!r} asks for {full}, which no checkpoint of deepspeech.pytorch needs. It was not run, "
            "and the file is not read any further: get it from its source again, or do not use it"
        )

    def persistent_load(self, pid: Any) -> torch.Tensor:
        if not isinstance(pid, tuple) or not pid or pid[0] != "storage":
            raise RefusedError(
                f"{str(self._path)!r} holds {str(pid)[:80]} beside tensors; expected storages of tensors alone"
            )
        return self._load_storage(pid)


def _rebuild_tensor(
    storage: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> torch.Tensor:
    """A view of a storage, a flat tensor here. Raises ValueError where it would reach beyond it."""
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    negative = min([offset, *size, *stride], default=0) < 0
    if negative or (0 not in size and last >= storage.numel()) or math.prod(size) > storage.numel():
        raise ValueError(f"a tensor of size {tuple(size)} lies outside its storage of {storage.numel()} numbers")
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _rebuild_parameter(data: torch.Tensor, *_: Any) -> torch.Tensor:
    return data


def _read_zip(archive: zipfile.ZipFile, path: Path) -> Any:
    (pickled,) = (name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
    folder = pickled.split("/")[0]
    order = f"{folder}/byteorder"
    if order in archive.namelist() and archive.read(order) != b"little":
        raise ValueError("its numbers are big-endian; save it again on a little-endian machine")
    storages: dict[str, torch.Tensor] = {}

    def load(pid: tuple[Any, ...]) -> torch.Tensor:
        _, dtype, key, _, count = pid
        if key not in storages:
            storages[key] = _numbers(archive.read(f"{folder}/data/{key}"), dtype, count)
        return storages[key]

    return _Unpickler(io.BytesIO(archive.read(pickled)), path, load).load()


def _read_legacy(file: BinaryIO, path: Path) -> Any:
    """Pickles of a magic number, a version, the system and the content, the storages' keys, then the storages."""

    def refuse(pid: Any) -> torch.Tensor:
        raise ValueError("a storage stands before the content")

    if (
        _Unpickler(file, path, refuse).load() != MAGIC_NUMBER
        or _Unpickler(file, path, refuse).load() != PROTOCOL_VERSION
    ):
        raise ValueError("it does not start with torch's magic number")
    system = _Unpickler(file, path, refuse).load()
    if not system.get("little_endian", True):
        raise ValueError("its numbers are big-endian; save it again on a little-endian machine")
    storages: dict[str, torch.Tensor] = {}

    def allocate(pid: tuple[Any, ...]) -> torch.Tensor:
        _, dtype, key, _, count, view = pid
        if view is not None:
            raise ValueError("it holds views of storages, which torch has not written since 0.2")
        if key not in storages:
            storages[key] = torch.empty(count, dtype=dtype)
        return storages[key]

    content = _Unpickler(file, path, allocate).load()
    for key in _Unpickler(file, path, refuse).load():
        (count,) = struct.unpack("<q", file.read(8))
        storage = storages[key]
        if count != storage.numel():
            raise ValueError(f"storage {key} has {count} numbers; expected {storage.numel()}")
        storage.copy_(_numbers(file.read(count * storage.element_size()), storage.dtype, count))
    return content


def _numbers(content: bytes, dtype: torch.dtype, count: int) -> torch.Tensor:
    if len(content) < count * dtype.itemsize:
        raise ValueError(f"a storage has {len(content)} bytes; expected {count * dtype.itemsize}")
    return torch.frombuffer(bytearray(content), dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)
