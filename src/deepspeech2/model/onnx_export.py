"""
A model as an ONNX folder, in fp32 and in int8, and the gate that such a folder has to pass.

The folder holds all that a program with onnxruntime and numpy needs: the graphs, the constants of the features, and the
JSON files of the processor. `recipes/onnx_example.py` is such a program.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .feature_extraction_deepspeech2 import SMALLEST_MEL_POWER, SMALLEST_STD, DeepSpeech2FeatureExtractor
from .modeling_deepspeech2 import DeepSpeech2CTCOutput, DeepSpeech2ForCTC
from .processing_deepspeech2 import DeepSpeech2Processor

MISSING = "an export needs two packages: pip install onnx onnxruntime"
PYTORCH, FP32, INT8 = "PyTorch", "ONNX fp32", "ONNX int8"
FILES = {FP32: "model.onnx", INT8: "model_int8.onnx"}


def export_onnx(model: DeepSpeech2ForCTC, processor: DeepSpeech2Processor, folder: Path) -> list[str]:
    """
    Writes model.onnx, model_int8.onnx, features.npz, and the JSON files of the configuration and the processor.

    In int8 are the weights of the LSTM layers, which are nearly all, and what they are multiplied with. The latter has
    one scale for a whole batch: a clip's logits depend a little on its company, though not on padding. Convolutions
    and head stay in fp32. ONNX Runtime has no such GRU or RNN: of those there is no model_int8.onnx.

    Args:
        folder: where to; a new one.

    Returns:
        The ways that were written: `FP32` and, of LSTMs, `INT8`.

    Raises:
        ValueError: the folder is there already.
        ImportError: onnx or onnxruntime is missing; says how to install them.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        from .onnx_graph import build_graph
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}; {MISSING}") from None
    if folder.exists():
        raise ValueError(f"{str(folder)!r} is already there; name a new folder, or remove it")
    folder.mkdir(parents=True)
    graph = build_graph(model)
    onnx.save(graph, folder / FILES[FP32])
    ways = [FP32]
    if model.config.rnn_type == "lstm":
        # There is nothing to fold or to infer in a graph written by hand; unsaid, a warning asks for it.
        onnx.helper.set_model_props(graph, {"onnx.quant.pre_process": "onnxruntime.quant"})
        # 7 bits: without VNNI, two products of 8 bits overflow the 16 bits in which a CPU adds them.
        options = {"weight_type": QuantType.QInt8, "per_channel": True, "reduce_range": True}
        quantize_dynamic(graph, folder / FILES[INT8], op_types_to_quantize=["LSTM"], **options)
        ways.append(INT8)
    np.savez(folder / "features.npz", allow_pickle=False, **feature_constants(processor.feature_extractor))
    model.config.save_pretrained(folder)
    processor.save_pretrained(folder)
    return ways


def feature_constants(extractor: DeepSpeech2FeatureExtractor) -> dict[str, Any]:
    """
    What the features of a clip are calculated with, float32.

    `window` (n_fft,), the scale of the audio in it; of mel features `filters` (n_fft // 2 + 1, feature_size) and
    `smallest_power`; `smallest_std`.
    """
    constants = {
        "window": (extractor._window() * extractor.audio_scale).numpy(),
        "smallest_std": np.float32(SMALLEST_STD),
    }
    if extractor.features == "mel":
        constants |= {"filters": extractor._mel_filters().numpy(), "smallest_power": np.float32(SMALLEST_MEL_POWER)}
    return constants


class OnnxModel(nn.Module):
    """
    An exported graph on the CPU, called like the model that it is of; without a loss, and without parameters.

    Args:
        path: model.onnx or model_int8.onnx.
        threads: of the calculation.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def forward(
        self, input_features: torch.Tensor, attention_mask: torch.Tensor, **kwargs: Any
    ) -> DeepSpeech2CTCOutput:
        """As `DeepSpeech2ForCTC.forward`; labels are not looked at."""
        inputs = {"input_features": input_features.numpy(), "attention_mask": attention_mask.int().numpy()}
        logits, output_lengths = map(torch.from_numpy, self._session.run(["logits", "output_lengths"], inputs))
        return DeepSpeech2CTCOutput(logits=logits, output_lengths=output_lengths)  # type: ignore[arg-type]
