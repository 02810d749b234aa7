"""Read checkpoints that `torch.save` wrote without executing anything in them.

A pickle is a program that can call any function that it names. This module lists the names first. Names of libraries
that checkpoints of deepspeech.pytorch mention become inert objects, which only store their arguments. Any other name
makes it refuse the file. `torch.load(weights_only=True)` reads the rest.

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

# Names that torch itself resolves: tensors, parameters, storages and plain containers.
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
# Names that checkpoints hold besides tensors: configurations, enumerations, optimiser and trainer states.
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
# Exceptions that reading a broken file raises.
BROKEN = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, RuntimeError, TypeError, ValueError),
    *(zipfile.BadZipFile, zlib.error),
)
LARGEST_PICKLE = 64 * 1024 * 1024  # bytes: the structure of a released checkpoint has some 10,000
LEGACY_PICKLES = 5  # before torch 1.6: magic number, version, system, content, storage keys


class Inert:
    """A stand-in for an object whose class is not loaded. It stores the `arguments` of its call and its `state`."""

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
    """A checkpoint names something that is not needed to read weights."""


def read_checkpoint(path: Path) -> Any:
    """
    Return the content of a `.pth` or `.ckpt` file in torch's zip format or the older one.

    Tensors are on the CPU. Objects of unknown classes are `Inert`.

    Raises:
        ValueError: the file does not exist, is not a checkpoint, or is truncated.
        RefusedError: the file names something that weights do not need. The message says what.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {str(path)!r} (the current folder is {str(Path.cwd())!r})")
    try:
        with safe_globals([(_stand_in(name), name) for name in _inert_names(path)]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except RefusedError:
        raise
    except pickle.UnpicklingError as error:  # torch's message advises to execute the file
        raise ValueError(
            f"{str(path)!r} is not a torch checkpoint, or it is broken: it holds instructions that torch.save does not "
            "write"
        ) from error
    except BROKEN as error:
        raise ValueError(f"{str(path)!r} is not a torch checkpoint, or it is broken: {error}") from error


def _stand_in(name: str) -> Any:
    # torch fills only plain dictionaries. The default of a missing key does not matter here.
    return (lambda *_: {}) if name == "collections.defaultdict" else type(name, (Inert,), {})


def _inert_names(path: Path) -> list[str]:
    """Return the names in the file besides those of weights. Raises RefusedError if one of them is not needed."""
    with path.open("rb") as file:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
                size = archive.getinfo(pickled).file_size
                if size > LARGEST_PICKLE:
                    raise ValueError(
                        f"{str(path)!r} has {size:,} bytes of structure beside its tensors; a checkpoint of "
                        f"deepspeech.pytorch has {LARGEST_PICKLE:,} at most"
                    )
                named = _names(io.BytesIO(archive.read(pickled)))
        else:
            file.seek(0)
            named = [name for _ in range(LEGACY_PICKLES) for name in _names(file)]
    names = [name for name in dict.fromkeys(named) if name not in WEIGHT_NAMES]
    for name in names:
        if name.split(".")[0] not in INERT_ROOTS and name not in INERT_NAMES:
            raise RefusedError(
                f"{str(path)!r} asks for {name}, which no checkpoint of deepspeech.pytorch needs. Nothing was run. "
                "Download the file from its source again, or do not use it"
            )
    return names


def _names(file: BinaryIO) -> list[str]:
    """Return the functions and classes that the next pickle in a file names, by their names in Python 3."""
    words, texts = [], [""]
    for operation, argument, _ in pickletools.genops(file):
        if operation.name in ("GLOBAL", "INST"):
            words.append(str(argument))
        elif operation.name == "STACK_GLOBAL":  # torch.save does not write it
            words.append(" ".join(texts[-2:]))
        elif isinstance(argument, str):
            texts.append(argument)
    words = ["builtins int" if word == "__builtin__ long" else word for word in words]
    return [word.replace("__builtin__ ", "builtins ").replace(" ", ".") for word in words]
