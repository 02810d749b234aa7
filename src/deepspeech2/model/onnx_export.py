"""
Export a model to an ONNX folder, in fp32 and in int8, and run the exported graphs.

The folder holds everything that a program with onnxruntime and numpy needs: the graphs, the constants of the features,
and the JSON files of the processor. `recipes/onnx_example.py` is such a program.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .feature_extraction_deepspeech2 import SMALLEST_MEL_POWER, SMALLEST_STD, DeepSpeech2FeatureExtractor
from .modeling_deepspeech2 import DeepSpeech2CTCOutput, DeepSpeech2ForCTC
from .processing_deepspeech2 import DeepSpeech2Processor

MISSING = "the ONNX export needs two packages: pip install onnx onnxruntime"
PYTORCH, FP32, INT8 = "PyTorch", "ONNX fp32", "ONNX int8"
FILES = {FP32: "model.onnx", INT8: "model_int8.onnx"}


def export_onnx(model: DeepSpeech2ForCTC, processor: DeepSpeech2Processor, folder: Path) -> list[str]:
    """
    Write model.onnx, model_int8.onnx, features.npz, and the JSON files of the configuration and the processor.

    In model_int8.onnx the weights and inputs of the LSTM layers are int8. These layers hold nearly all weights. The
    inputs have one scale for the whole batch, so a clip's logits depend slightly on the other clips in the batch, but
    not on the padding. Convolutions and head stay in fp32. ONNX Runtime cannot quantise GRU and RNN layers, so their
    models have no model_int8.onnx.

    Args:
        folder: a new folder for the files.

    Returns:
        The systems that were written: `FP32` and, for LSTM models, `INT8`.

    Raises:
        ValueError: the folder exists.
        ImportError: onnx or onnxruntime is missing. The message says how to install them.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        from .onnx_graph import build_graph
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}; {MISSING}") from None
    if folder.exists():
        raise ValueError(f"{str(folder)!r} already exists; name a new folder, or remove it")
    folder.mkdir(parents=True)
    graph = build_graph(model)
    onnx.save(graph, folder / FILES[FP32])
    written = [FP32]
    if model.config.rnn_type == "lstm":
        # A graph written by hand needs no pre-processing. Without this property a warning asks for it.
        onnx.helper.set_model_props(graph, {"onnx.quant.pre_process": "onnxruntime.quant"})
        # 7 bits: without VNNI, two products of 8 bits overflow the 16 bits in which a CPU adds them.
        options = {"weight_type": QuantType.QInt8, "per_channel": True, "reduce_range": True}
        quantize_dynamic(graph, folder / FILES[INT8], op_types_to_quantize=["LSTM"], **options)
        written.append(INT8)
    np.savez(folder / "features.npz", allow_pickle=False, **feature_constants(processor.feature_extractor))
    model.config.save_pretrained(folder)
    processor.save_pretrained(folder)
    return written


def feature_constants(extractor: DeepSpeech2FeatureExtractor) -> dict[str, Any]:
    """
    Return the constants that the features of a clip are computed with, in float32.

    These are `window` (n_fft,), which includes the audio scale, and `smallest_std`. Mel features also have `filters`
    (n_fft // 2 + 1, feature_size) and `smallest_power`.
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
    An exported graph on the CPU. It is called like the original model, but has no loss and no parameters.

    Args:
        path: model.onnx or model_int8.onnx.
        threads: CPU threads for the computation.
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
        """Return logits and output lengths like `DeepSpeech2ForCTC.forward`. Labels are ignored."""
        inputs = {"input_features": input_features.numpy(), "attention_mask": attention_mask.int().numpy()}
        logits, output_lengths = map(torch.from_numpy, self._session.run(["logits", "output_lengths"], inputs))
        return DeepSpeech2CTCOutput(logits=logits, output_lengths=output_lengths)  # type: ignore[arg-type]
