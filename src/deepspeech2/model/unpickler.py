"""Checkpoints that `torch.save` wrote, read without executing anything in them.

A pickle is a program that may call whatever it names. The names are listed first: those of libraries that checkpoints
of deepspeech.pytorch mention become inert objects, which only remember what they were given, and any other refuses the
file. What is left is read by `torch.load(weights_only=True)`.

>>> read_checkpoint(Path("librispeech_pretrained_v2.pth"))["labels"]
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch.serialization import safe_globals

# What torch itself makes: tensors, parameters, storages and plain containers.
WEIGHT_NAMES = {
    "builtins.set",
    "collections.Counter",
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    *(
        f"torch.{kind}Storage"
        for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
    ),
}
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
    "_operator.getitem",
    "pathlib.Path",
    "pathlib.PosixPath",
    "torch.nn.modules.rnn.LSTM",
    "torch.nn.modules.rnn.GRU",
    "torch.nn.modules.rnn.RNN",
    *(f"builtins.{name}" for name in ("dict", "list", "tuple", "int", "float", "str", "bool", "Ellipsis", "object")),
}
# What reading a broken file raises.
BROKEN = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, RuntimeError, TypeError, ValueError),
    *(zipfile.BadZipFile, zlib.error),
)
LEGACY_PICKLES = 5  # before torch 1.6: magic number, version, system, content, keys of the storages


class Inert:
    """Stands for an object of a class that is not loaded: `arguments` it was called with, `state`."""

    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> Inert:
        inert = super().__new__(cls)
        inert.arguments, inert.state = arguments, None
        return inert

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


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
        with safe_globals([(_stand_in(name), name) for name in _inert_names(path)]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except RefusedError:
        raise
    except pickle.UnpicklingError as error:  # torch's message advises to read the file by executing it
        raise ValueError(
            f"{str(path)!r} is no checkpoint of torch, or a broken one: it holds instructions that torch.save does "
            "not write"
        ) from error
    except BROKEN as error:
        raise ValueError(f"{str(path)!r} is no checkpoint of torch, or a broken one: {error}") from error


def _stand_in(name: str) -> Any:
    # torch fills plain dictionaries only; what a missing key would bring does not matter here.
    return (lambda *_: {}) if name == "collections.defaultdict" else type(name, (Inert,), {})


def _inert_names(path: Path) -> list[str]:
    """What the file names beside weights. Raises RefusedError for a name that it has no business with."""
    with path.open("rb") as file:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
                named = _names(io.BytesIO(archive.read(pickled)))
        else:
            file.seek(0)
            named = [name for _ in range(LEGACY_PICKLES) for name in _names(file)]
    names = [name for name in dict.fromkeys(named) if name not in WEIGHT_NAMES]
    for name in names:
        if name.split(".")[0] not in INERT_ROOTS and name not in INERT_NAMES:
            raise RefusedError(
                f"{str(path)!r} asks for {name}, which no checkpoint of deepspeech.pytorch needs. It was not run, "
                "and the file is not read any further: get it from its source again, or do not use it"
            )
    return names


def _names(file: BinaryIO) -> list[str]:
    """The functions and classes that the next pickle of a file names, by their names in Python 3."""
    words = [str(word) for operation, word, _ in pickletools.genops(file) if operation.name == "GLOBAL"]
    words = ["builtins int" if word == "__builtin__ long" else word for word in words]
    return [word.replace("__builtin__ ", "builtins ").replace(" ", ".") for word in words]
