"""Run a folder of `deepspeech2 export` with onnxruntime and numpy. torch and transformers take seconds to import."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from .long_form import Listener

if TYPE_CHECKING:
    import torch

GRAPHS = ("model_int8.onnx", "model.onnx")  # the first one that a folder has is taken
INSTALL = "pip install onnxruntime"


def find_graph(model: str) -> Path | None:
    """
    Return the graph of an ONNX folder, or None if `model` is something else.

    Args:
        model: a `.onnx` file, or a folder. A folder with weights of PyTorch is no ONNX folder.

    Raises:
        ValueError: the `.onnx` file does not exist, or files of the export are missing beside it.
    """
    path, graph = Path(model).expanduser(), None
    if path.suffix == ".onnx":
        if not path.is_file():
            raise ValueError(f"{model!r} does not exist; expected a graph in the folder of `deepspeech2 export`")
        graph = path
    elif not any(path.glob("model*.safetensors")):
        graph = next((path / name for name in GRAPHS if (path / name).is_file()), None)
    beside = ("config.json", "processor_config.json", "vocab.json", "features.npz")
    if graph and (missing := [name for name in beside if not (graph.parent / name).is_file()]):
        raise ValueError(
            f"{str(graph.parent)!r} lacks {' and '.join(missing)}; expected the whole folder that `deepspeech2 export` "
            "writes"
        )
    return graph


def refuse_device(graph: Path, device: str) -> None:
    """Raise a ValueError if a device other than the CPU is asked for."""
    if device not in ("auto", "cpu"):
        raise ValueError(f"--device is {device!r}, but {str(graph)!r} runs on the CPU; leave out --device")


class Spelling:
    """
    The vocabulary of an ONNX folder, in the place of a `DeepSpeech2Processor`. Texts with other characters, such as a
    script with capitals, need the normalisation of the processor itself.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        given = json.loads((folder / "processor_config.json").read_text("utf-8"))
        self._removed = frozenset(given["removed_characters"])
        self._ids: dict[str, int] = json.loads((folder / "vocab.json").read_text("utf-8"))
        tokens = sorted(self._ids, key=self._ids.__getitem__)
        self.feature_extractor = SimpleNamespace(**given["feature_extractor"])
        self.tokenizer: Any = Tokens(tokens)
        self.space_id = self._ids[" "]

    @cached_property
    def _processor(self) -> Any:
        from ..model.processing_deepspeech2 import DeepSpeech2Processor

        return DeepSpeech2Processor.from_pretrained(self._folder, trust_remote_code=False)

    def normalize_text(self, text: str) -> str:
        words = unicodedata.normalize("NFC", " ".join(text.split()))
        plain = not self.unknown_characters(words) and self._removed.isdisjoint(words)
        return words if plain else self._processor.normalize_text(text)

    def unknown_characters(self, normalized_text: str) -> Counter[str]:
        return Counter(character for character in normalized_text if character not in self._ids)

    def encode(self, normalized_text: str) -> list[int]:
        return [self._ids[character] for character in normalized_text]


class Tokens(list[str]):
    """The characters of a vocabulary by their ids. 0 is the blank."""

    pad_token_id = 0

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        return [self[one] for one in ids]


class OnnxListener(Listener):
    """
    A `Listener` over an exported graph, on the CPU.

    Args:
        graph: model.onnx or model_int8.onnx in the folder of an export.
        threads: CPU threads for the computation. 0 leaves them to onnxruntime.
        batch_windows: number of windows, of up to 20 s each, in a batch.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: a file cannot be read.
    """

    def __init__(self, graph: Path, threads: int = 0, batch_windows: int = 4) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise ImportError(f"{error}; an ONNX model needs it: {INSTALL}") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            config = json.loads((graph.parent / "config.json").read_text("utf-8"))
            config["inputs_to_logits_ratio"] = config["hop_length"] * prod(step for _, step in config["conv_strides"])
            model = SimpleNamespace(config=SimpleNamespace(**config), name_or_path=str(graph.parent))
            super().__init__(model, Spelling(graph.parent), batch_windows)
            with np.load(graph.parent / "features.npz") as constants:
                self._constants = dict(constants)
        except (ValueError, KeyError, OSError) as error:
            raise ValueError(
                f"{str(graph.parent)!r} has a damaged file: {error}; export the model again, or copy the whole folder"
            ) from error
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the classes of onnxruntime have no common one
            raise ValueError(f"{str(graph)!r} cannot be loaded: {error}; export the model again") from error

    def run(self, clips: list[np.ndarray]) -> list[np.ndarray]:
        spectra = [self.features(clip) for clip in clips]
        longest = max(map(len, spectra))
        inputs = {
            "input_features": np.stack([np.pad(one, ((0, longest - len(one)), (0, 0))) for one in spectra]),
            "attention_mask": np.array([np.arange(longest) < len(one) for one in spectra], np.int32),
        }
        logits, output_lengths = self._session.run(["logits", "output_lengths"], inputs)
        logits -= logits.max(-1, keepdims=True)
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return [one[:length] for one, length in zip(log_probs, output_lengths.tolist(), strict=True)]

    def features(self, samples: np.ndarray) -> np.ndarray:
        """Return the normalised spectra (frames, feature_size) of a clip, as `DeepSpeech2FeatureExtractor` does."""
        settings, constants = self.processor.feature_extractor, self._constants
        samples = np.pad(samples, settings.n_fft // 2, mode=settings.pad_mode)
        frames = np.lib.stride_tricks.sliding_window_view(samples, settings.n_fft)[:: settings.hop_length]
        spectra = np.fft.rfft(frames * constants["window"])
        power = np.square(spectra.real) + np.square(spectra.imag)
        if settings.features == "mel":
            values = np.log(np.maximum(power @ constants["filters"], constants["smallest_power"]))
        else:
            values = np.log1p(np.sqrt(power))
        if settings.normalization == "fixed":
            mean, std = (np.array(one, np.float32) for one in (settings.feature_mean, settings.feature_std))
        else:
            axis, count = (None, values.size) if settings.normalization == "clip" else (0, len(values))
            mean = values.mean(axis, keepdims=True)
            std = values.std(axis, ddof=min(1, count - 1), keepdims=True)
        return ((values - mean) / np.maximum(std, constants["smallest_std"])).astype(np.float32)


def load_listener(
    model: str, graph: Path | None, device: "torch.device | str" = "cpu", threads: int = 0, batch_windows: int = 4
) -> Listener:
    """
    Load an ONNX graph, or else the model of PyTorch on its device.

    Args:
        model: a folder or a Hub id. It is not read if there is a graph.
        graph: what `find_graph` found for it.
        device: where PyTorch runs. onnxruntime runs on the CPU.
        threads: CPU threads of onnxruntime. 0 leaves them to it.
        batch_windows: number of windows, of up to 20 s each, in a batch.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: the model cannot be loaded.
    """
    if graph:
        return OnnxListener(graph, threads, batch_windows)
    from ..model.loading import load_model

    loaded, processor = load_model(model)
    return Listener(loaded.eval().to(device), processor, batch_windows)
