"""A checkpoint, from a folder or the Hub: its model and processor, checked and loaded without running anything."""

import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from ..system.network import advice, ask
from .configuration_deepspeech2 import DeepSpeech2Config
from .modeling_deepspeech2 import DeepSpeech2ForCTC
from .processing_deepspeech2 import DeepSpeech2Processor

logger = logging.getLogger(__name__)

CHECKPOINT_FILES = (
    "config.json",
    "processor_config.json",
    "tokenizer*.json",
    "vocab.json",
    "model*.safetensors",
    "*.py",
)
PROCESSOR_FILES = ("processor_config.json", "tokenizer_config.json", "vocab.json")


def load_model(
    model_name_or_path: str, revision: str = "main", dropout: float | None = None, adapter_size: int = 0
) -> tuple[DeepSpeech2ForCTC, DeepSpeech2Processor]:
    """
    A checkpoint and its processor, from a folder or the Hub, in float32.

    Nothing that lies there is executed: the classes are this package's, the weights safetensors.

    Args:
        dropout: to train with, instead of the checkpoint's own.
        adapter_size: of new adapters, with which the model says what it said; 0: as the checkpoint has it.

    Raises:
        ValueError: neither a folder with a config.json nor the form of a Hub id, another architecture, files that
            are missing, out of reach or damaged, weights that are pickles, or a dropout out of its range.
    """
    named = f"model_name_or_path {model_name_or_path!r}"
    path = Path(model_name_or_path)
    here = path.exists() or path.parent.is_dir()  # "outputs/misspelt" is no id on the Hub
    local = (path / "config.json").is_file()
    if not local and (here or model_name_or_path.count("/") != 1):
        raise ValueError(f"{named} is no model: expected a folder with config.json, or a Hub id such as 'user/model'")
    source = "its config.json"
    try:
        folder = path if local else _download(model_name_or_path, revision, "*.json")
        kind = DeepSpeech2Config.get_config_dict(folder)[0].get("model_type")
        if kind != DeepSpeech2Config.model_type:
            raise ValueError(f"{model_name_or_path} holds a {kind} model; expected a deepspeech2 one")
        config = DeepSpeech2Config.from_pretrained(folder)
        if dropout is not None:
            source = "model_config"
            config.dropout = dropout
            config.validate()
        if adapter_size and config.adapter_size not in (0, adapter_size):
            raise ValueError(
                f"{named} has adapters of size {config.adapter_size}, not {adapter_size}; set adapter_size to that"
            )
        config.adapter_size = adapter_size or config.adapter_size
        if missing := [name for name in PROCESSOR_FILES if not (folder / name).is_file()]:
            raise ValueError(
                f"{named} lacks {' and '.join(missing)}: beside the model's config.json and model.safetensors it needs "
                "what save_pretrained of its processor writes"
            )
        processor = DeepSpeech2Processor.from_pretrained(folder, trust_remote_code=False)
        if not local:
            _download(model_name_or_path, folder.name, "model*.safetensors")
        if not any(folder.glob("model*.safetensors")):
            others = ", ".join(sorted(file.name for file in folder.glob("*.bin")))
            raise ValueError(
                f"{named} has no weights in model.safetensors{f', but {others}' if others else ''}: other formats are "
                "pickles, programs that may do anything, and are not loaded; save_pretrained writes safetensors"
            )
        model = DeepSpeech2ForCTC.from_pretrained(folder, config=config, dtype="float32", use_safetensors=True)
    except StrictDataclassError as error:  # no ValueError, and the fault itself is what caused it
        raise ValueError(f"{named}, {source}: {error.__cause__ or error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{named} has a damaged JSON file: {error}; copy or download its files again") from error
    except SafetensorError as error:
        raise ValueError(f"{named} has damaged weights, {error}: copy or download model.safetensors again") from error
    except OSError as error:  # of transformers and the Hub client
        cause = " ".join(str(error).split())
        raise ValueError(f"{named} cannot be loaded: {cause}{advice(error)}") from error
    return model, processor


def _download(repo_id: str, revision: str, pattern: str) -> Path:
    """The folder with those files of a model on the Hub; its name is their commit."""
    fetch = partial(snapshot_download, repo_id, revision=revision, allow_patterns=pattern)
    return Path(ask(f"the model {repo_id}", fetch))


def load_models(names: Sequence[str]) -> dict[str, tuple[DeepSpeech2ForCTC, DeepSpeech2Processor]]:
    """
    Checkpoints that are to be compared, by name, as `load_model` loads each.

    Raises:
        ValueError: one cannot be loaded, or they normalise text in different ways.
    """
    loaded = {name: load_model(name) for name in names}
    ways = {name: (made.text_case, made.removed_characters) for name, (_, made) in loaded.items()}
    if len(set(ways.values())) > 1:
        raise ValueError(
            "error rates of models that normalise text in different ways cannot be compared: "
            + "; ".join(f"{name} has text_case {way[0]!r}, removed_characters {way[1]!r}" for name, way in ways.items())
        )
    return loaded
