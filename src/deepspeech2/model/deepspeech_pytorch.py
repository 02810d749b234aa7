"""Convert checkpoints of every version of deepspeech.pytorch to this package's model and processor.

>>> model, processor = from_deepspeech_pytorch("models/deepspeech.pth")
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .configuration_deepspeech2 import DeepSpeech2Config
from .feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor
from .modeling_deepspeech2 import DeepSpeech2ForCTC
from .processing_deepspeech2 import PUNCTUATION, DeepSpeech2Processor
from .unpickler import Inert, read_checkpoint

CONVOLUTIONS: dict[str, Any] = {
    "conv_channels": [32, 32],
    "conv_kernel_sizes": [[41, 11], [21, 11]],
    "conv_strides": [[2, 2], [2, 1]],
    "activation_max": 20.0,
}
GATES = {4: "lstm", 3: "gru", 1: "rnn"}
# The factor by which each version's own loader scaled samples in [-1, 1].
AUDIO_SCALES = {"1.0": 2.0**31, "1.1": 2.0**31, "2.0": 32768 / 32767, "2.1": 32768 / 32767, "3": 1.0}
VERSION_NAMES = {"1.0": "v1.0", "1.1": "v1.1 or v1.2", "2.0": "v2.0", "2.1": "V2.1", "3": "V3"}


@dataclass(frozen=True)
class Origin:
    """The content of a checkpoint of deepspeech.pytorch. `version` is a key of `VERSION_NAMES`."""

    version: str
    labels: list[str]
    audio: dict[str, Any]
    weights: dict[str, torch.Tensor]


def from_deepspeech_pytorch(path: str | Path) -> tuple[DeepSpeech2ForCTC, DeepSpeech2Processor]:
    """
    Return the model, in evaluation mode, and the processor of a checkpoint of deepspeech.pytorch.

    v1.0 to V2.1 (`.pth`) and V3 of Lightning (`.ckpt`) are supported, with LSTM, GRU or RNN layers in one direction or
    two. deepspeech.pytorch, omegaconf and Lightning are not needed, and nothing in the file is executed.

    The processor computes the features of that version (audio scale, symmetry of the window, reflected ends) and has
    its labels. v1 did not mask the padding, so its outputs for the shorter clips of a padded batch differ from this
    model's. For a single clip they are the same.

    Args:
        path: the checkpoint file.

    Raises:
        ValueError: the file is not a checkpoint of deepspeech.pytorch, or cannot be converted exactly.
        RefusedError: the file asks for code that no such checkpoint needs. Nothing was run.
    """
    with converted_whole(str(path)):
        return build(read_origin(Path(path)), str(path))


@contextmanager
def converted_whole(path: str) -> Iterator[None]:
    """
    Turn the errors of an incomplete checkpoint into messages that name it.

    Raises:
        ValueError: entries are missing, or weights have contradictory shapes.
    """
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{path!r} cannot be converted completely: it lacks {error}") from error
    except RuntimeError as error:
        cause = " ".join(str(error).split())
        raise ValueError(f"{path!r} cannot be converted completely: {cause}") from error


def build(origin: Origin, path: str) -> tuple[DeepSpeech2ForCTC, DeepSpeech2Processor]:
    config = _config(origin)
    processor = DeepSpeech2Processor(_extractor(origin), _tokenizer(origin.labels), **_text_rules(origin.labels))
    model = DeepSpeech2ForCTC(config)
    weights = _rename(origin.weights)
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            weights.setdefault(name, torch.zeros_like(tensor))
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if missing or unexpected:
        raise ValueError(
            f"{path!r} cannot be converted completely: missing weights: {_some(missing)}, unknown weights: "
            f"{_some(unexpected)}"
        )
    return model.eval(), processor


def read_origin(path: Path) -> Origin:
    """
    Read a checkpoint of any version.

    Raises:
        ValueError: it is not a checkpoint of deepspeech.pytorch.
    """
    content = read_checkpoint(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("state_dict"), Mapping):
        held = sorted(map(str, content))[:8] if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(
            f"{str(path)!r} is not a checkpoint of deepspeech.pytorch: expected a state_dict, but it holds {held}"
        )
    weights = {name.removeprefix("module."): tensor for name, tensor in content["state_dict"].items()}
    if not any(name.startswith("rnns.0.rnn.") for name in weights) or "fc.0.module.1.weight" not in weights:
        raise ValueError(
            f"{str(path)!r} is not a checkpoint of deepspeech.pytorch: its weights are {_some(list(weights))}"
        )
    if "hyper_parameters" in content:
        settings = content["hyper_parameters"]
        version, labels, audio = "3", settings["labels"], _plain(settings["spect_cfg"])
    else:
        settings, labels, audio = content, content["labels"], _plain(content["audio_conf"])
        if any(name.startswith("conv.seq_module.") for name in weights):
            version = "2.1" if isinstance(content["audio_conf"], Inert) else "2.0"
        else:
            version = "1.1" if "bidirectional" in settings else "1.0"
    return Origin(version, list(_plain(labels)), audio, weights)


def _plain(value: Any) -> Any:
    """Return the values of omegaconf's containers and nodes and of enumerations from their stand-ins."""
    if isinstance(value, Inert):
        state = value.state if isinstance(value.state, dict) else {}
        if "_content" in state:
            return _plain(state["_content"])
        if "_val" in state:
            return _plain(state["_val"])
        return _plain(value.arguments[0]) if value.arguments else None
    if isinstance(value, dict):
        return {key: _plain(held) for key, held in value.items()}
    if isinstance(value, list):
        return [_plain(held) for held in value]
    return value


def _config(origin: Origin) -> DeepSpeech2Config:
    weights = origin.weights
    recurrent, inputs = weights["rnns.0.rnn.weight_hh_l0"].shape, weights["rnns.0.rnn.weight_ih_l0"].shape[1]
    hidden_size = recurrent[1]
    bidirectional = "rnns.0.rnn.weight_ih_l0_reverse" in weights
    # The number of frequency rows shows whether the convolutions padded them.
    if inputs == 32 * 41:
        paddings = [[20, 5], [10, 5]]
    elif inputs == 32 * 21:
        paddings = [[0, 0 if origin.version == "1.0" else 10], [0, 0]]
    else:
        raise ValueError(
            f"the recurrent layers have input size {inputs}; expected 1312 or 672, which 161 frequency bins give"
        )
    lookahead: dict[str, Any] = {} if bidirectional else {"lookahead_context": _lookahead(weights).shape[-1]}
    return DeepSpeech2Config(
        vocab_size=len(origin.labels),
        num_features=161,
        **CONVOLUTIONS,
        conv_paddings=paddings,
        rnn_type=GATES[recurrent[0] // hidden_size],
        hidden_size=hidden_size,
        num_hidden_layers=_num_layers(weights),
        bidirectional=bidirectional,
        rnn_bias="rnns.0.rnn.bias_ih_l0" in weights,
        ctc_loss_reduction="sum",
        **lookahead,
    )


def _num_layers(weights: Mapping[str, torch.Tensor]) -> int:
    return 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("rnns."))


def _lookahead(weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the lookahead's weights: (hidden size, frames) in v1, (hidden size, 1, frames) in later versions."""
    name = next((name for name in weights if name.startswith("lookahead.0.")), None)
    if name is None:
        raise ValueError("the recurrent layers are unidirectional, but the lookahead convolution after them is missing")
    return weights[name]


def _extractor(origin: Origin) -> DeepSpeech2FeatureExtractor:
    audio = origin.audio
    rate = audio.get("sample_rate", 16000)
    window = round(rate * audio.get("window_size", 0.02))
    if audio.get("window", "hamming") != "hamming" or window != 320:
        raise ValueError(
            f"the features use a {audio.get('window')} window of {window} samples; expected a hamming window of 320 "
            "samples, the only one that fits the released network"
        )
    return DeepSpeech2FeatureExtractor(
        feature_size=window // 2 + 1,
        sampling_rate=rate,
        n_fft=window,
        win_length=window,
        hop_length=round(rate * audio.get("window_stride", 0.01)),
        window_periodic=origin.version in ("2.1", "3"),
        audio_scale=AUDIO_SCALES[origin.version],
    )


def _tokenizer(labels: list[str]) -> Any:
    """Build the tokenizer. The blank is the first label, and the other labels keep their ids."""
    if " " not in labels[1:]:
        raise ValueError(f"the labels {''.join(labels)!r} have no space; expected one, to separate words")
    return DeepSpeech2Processor.build_tokenizer(labels[1:])


def _text_rules(labels: list[str]) -> dict[str, str]:
    letters = "".join(labels)
    case = "upper" if letters.isupper() else "lower" if letters.islower() else "keep"
    return {"text_case": case, "removed_characters": "".join(mark for mark in PUNCTUATION if mark not in labels[1:])}


_NAMES = (
    (r"conv\.(?:seq_module\.)?([03])\.(\w+)", lambda m: f"model.convs.{int(m[1]) // 3}.conv.{m[2]}"),
    (r"conv\.(?:seq_module\.)?([14])\.(\w+)", lambda m: f"model.convs.{int(m[1]) // 3}.batch_norm.{m[2]}"),
    (r"rnns\.(\d+)\.rnn\.(\w+)", lambda m: f"model.layers.{m[1]}.rnn.{m[2]}"),
    (r"rnns\.(\d+)\.batch_norm\.module\.(\w+)", lambda m: f"model.norms.{int(m[1]) - 1}.{m[2]}"),
    (r"lookahead\.0\.(?:conv\.)?weight", lambda m: "model.lookahead.conv.weight"),
    (r"fc\.0\.module\.1\.weight", lambda m: "ctc_head.weight"),
)


def _rename(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the weights of deepspeech.pytorch to this model's names. Unknown names stay as they are."""
    last = _num_layers(weights) - 1
    renamed = {}
    for name, tensor in weights.items():
        if name.startswith("rnns.0.batch_norm."):  # the first layer never uses its batch norm
            continue
        new = re.sub(r"^fc\.0\.module\.0\.", f"model.norms.{last}.", name)
        for pattern, rename in _NAMES:
            if match := re.fullmatch(pattern, name):
                new = rename(match)
        renamed[new] = tensor[:, None] if new == "model.lookahead.conv.weight" and tensor.dim() == 2 else tensor
    return renamed


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "nothing"
