"""Load the model and processor of a checkpoint from a folder or the Hub, without running any of its code."""

import json
import logging
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, StrictDataclassError
from safetensors import SafetensorError

from ..system.files import LFS_POINTER
from ..system.network import advice, ask
from .configuration_deepspeech2 import DeepSpeech2Config
from .modeling_deepspeech2 import DeepSpeech2ForCTC
from .processing_deepspeech2 import DeepSpeech2Processor

logger = logging.getLogger(__name__)

LANGUAGE_MODELS = ("*.arpa", "*.arpa.gz")  # beside the decoder.json that names one
CHECKPOINT_FILES = (
    "config.json",
    "processor_config.json",
    "tokenizer*.json",
    "vocab.json",
    "model*.safetensors",
    "*.py",
    "decoder.json",
    "grammar.yaml",
    "commands.json",
    *LANGUAGE_MODELS,
)
PROCESSOR_FILES = ("processor_config.json", "tokenizer_config.json", "vocab.json")


def load_model(
    model_name_or_path: str, revision: str = "main", dropout: float | None = None, adapter_size: int = 0
) -> tuple[DeepSpeech2ForCTC, DeepSpeech2Processor]:
    """
    Load a checkpoint and its processor from a folder or the Hub, in float32.

    No code of the checkpoint runs: the classes come from this package, and the weights are safetensors. From the Hub
    its decoder.json and language model come too, for `load_decoder`.

    Args:
        model_name_or_path: a folder with a config.json, or a model id on the Hub.
        revision: a branch, tag or commit on the Hub.
        dropout: dropout for training. None keeps the dropout of the checkpoint.
        adapter_size: width of new adapters, which do not change the output until they are trained. 0 keeps the
            adapters of the checkpoint, if it has any.

    Returns:
        The model and its processor.

    Raises:
        ValueError: the name is neither a folder with a config.json nor a Hub id, the architecture is another one, files
            are missing, unreachable, damaged or of another model, the weights are pickles or not finite, or the dropout
            is out of range.
    """
    named = f"model_name_or_path {model_name_or_path!r}"
    path = Path(os.path.expanduser(model_name_or_path))
    here = path.exists() or path.parent.is_dir()  # "outputs/misspelt" is a wrong path, not an id on the Hub
    local = (path / "config.json").is_file()
    if not local and (here or model_name_or_path.count("/") != 1):
        raise ValueError(
            f"{named} is not a model: expected a folder with config.json, or a Hub id such as 'user/model'"
        )
    source = "its config.json"
    try:
        folder = path if local else _download(model_name_or_path, revision, "*.json")
        _refuse_pointers(folder, named)
        kind = DeepSpeech2Config.get_config_dict(folder)[0].get("model_type")
        if kind != DeepSpeech2Config.model_type:
            raise ValueError(f"{named} has model_type {kind!r}; expected {DeepSpeech2Config.model_type!r}")
        config = DeepSpeech2Config.from_pretrained(folder)
        if dropout is not None:
            source = "model_config"
            config.dropout = dropout
            config.validate()
        if adapter_size and config.adapter_size not in (0, adapter_size):
            raise ValueError(
                f"{named} has adapters of size {config.adapter_size}, but adapter_size is {adapter_size}; set it to "
                f"{config.adapter_size}"
            )
        new_adapters = bool(adapter_size) and not config.adapter_size
        config.adapter_size = adapter_size or config.adapter_size
        if missing := [name for name in PROCESSOR_FILES if not (folder / name).is_file()]:
            raise ValueError(
                f"{named} lacks {' and '.join(missing)}: save the processor into the same folder with save_pretrained"
            )
        processor = DeepSpeech2Processor.from_pretrained(folder, trust_remote_code=False)
        if not local:
            _download(model_name_or_path, folder.name, "model*.safetensors", "grammar.yaml", *LANGUAGE_MODELS)
        if not any(folder.glob("model*.safetensors")):
            if any(folder.glob("model*.onnx")):
                raise ValueError(
                    f"{named} is an export to ONNX, which only `deepspeech2 transcribe` and `recognise` run; name "
                    "the model that it was made from"
                )
            others = ", ".join(sorted(file.name for file in folder.glob("*.bin")))
            raise ValueError(
                f"{named} has no model.safetensors{f', only {others}' if others else ''}. Pickled weights are not "
                "loaded, because a pickle can run any code; save the model again with save_pretrained"
            )
        loaded: Any = DeepSpeech2ForCTC.from_pretrained(
            folder,
            config=config,
            dtype="float32",
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # transformers' own error names no weight
            output_loading_info=True,
        )
        model, report = loaded
        if faults := [*_weight_faults(report, new_adapters), *_processor_faults(config, processor)]:
            raise ValueError(
                f"{named}: its files belong to different models: {'; '.join(faults)}. Copy or download all files of "
                "one model again"
            )
        if wrong := [name for name, weight in model.state_dict().items() if not torch.isfinite(weight).all()]:
            raise ValueError(
                f"{named} has weights that are not finite ({_shown(wrong)}): its training diverged. Take an earlier "
                "checkpoint"
            )
    except StrictDataclassError as error:  # not a ValueError; its cause describes the fault
        raise ValueError(f"{named}, {source}: {error.__cause__ or error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{named} has a damaged JSON file: {error}; copy or download its files again") from error
    except SafetensorError as error:
        raise ValueError(f"{named} has damaged weights, {error}: copy or download model.safetensors again") from error
    except (OSError, HFValidationError) as error:  # from transformers and the Hub client
        cause = " ".join(str(error).split())
        raise ValueError(f"{named} cannot be loaded: {cause}{advice(error)}") from error
    return model, processor


def _download(repo_id: str, revision: str, *patterns: str) -> Path:
    """Download the files of a model that match a pattern. The name of the returned folder is their commit."""
    fetch = partial(snapshot_download, repo_id, revision=revision, allow_patterns=list(patterns))
    return Path(ask(f"the model {repo_id}", fetch))


def _refuse_pointers(folder: Path, named: str) -> None:
    """Refuse the small text files that a clone without Git LFS has in place of the weights."""
    pointers = []
    for pattern in CHECKPOINT_FILES:
        for path in folder.glob(pattern):
            with path.open("rb") as file:
                if file.read(len(LFS_POINTER)) == LFS_POINTER:
                    pointers.append(path.name)
    if pointers:
        raise ValueError(
            f"{named}: {', '.join(sorted(pointers))} is a pointer of Git LFS, not the file itself: run `git lfs pull` "
            "in that folder, or download the model with `hf download`"
        )


def _weight_faults(report: dict, new_adapters: bool) -> list[str]:
    """Return a sentence for each way in which weights do not fit the config. They would be random, or not used."""
    missing = sorted(
        name
        for name in report["missing_keys"]
        if not name.endswith("num_batches_tracked") and not (new_adapters and ".adapters." in name)
    )
    other = sorted(
        f"{name} {tuple(found)} instead of {tuple(wanted)}" for name, found, wanted in report["mismatched_keys"]
    )
    found = {
        "weights are missing": missing,
        "there are weights that config.json does not have": sorted(report["unexpected_keys"]),
        "weights have another shape than in config.json": other,
    }
    return [f"{what} ({_shown(names)})" for what, names in found.items() if names]


def _processor_faults(config: DeepSpeech2Config, processor: DeepSpeech2Processor) -> list[str]:
    extractor = processor.feature_extractor
    pairs = {
        "vocab_size": (config.vocab_size, len(processor.tokenizer), "vocab.json"),
        "num_features": (config.num_features, extractor.feature_size, "the processor"),
        "hop_length": (config.hop_length, extractor.hop_length, "the processor"),
    }
    return [
        f"{name} is {own} in config.json, but {other} in {where}"
        for name, (own, other, where) in pairs.items()
        if own != other
    ]


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def load_models(names: Sequence[str]) -> dict[str, tuple[DeepSpeech2ForCTC, DeepSpeech2Processor]]:
    """
    Load checkpoints for a comparison with `load_model`, by name.

    Raises:
        ValueError: a checkpoint cannot be loaded, or they normalise text differently.
    """
    loaded = {name: load_model(name) for name in names}
    rules = {name: (made.text_case, made.removed_characters) for name, (_, made) in loaded.items()}
    if len(set(rules.values())) > 1:
        described = [
            f"{name} has text_case {case!r}, removed_characters {rest!r}" for name, (case, rest) in rules.items()
        ]
        raise ValueError(
            "the models normalise text differently, so their error rates cannot be compared: " + ", ".join(described)
        )
    return loaded
