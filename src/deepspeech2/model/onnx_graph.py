"""
Build the ONNX graph of a DeepSpeech2 model, node by node.

This module does not use `torch.onnx`: its current exporter does not support an LSTM of variable length, and its old one
is deprecated. Here each recurrent layer is one node that uses every clip's own length. Batch norms are folded into the
neighbouring weights. A long convolution takes a fifth of the multiplications.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from .modeling_deepspeech2 import DeepSpeech2Adapter, DeepSpeech2ForCTC, DeepSpeech2RecurrentLayer

OPSET, IR_VERSION = 17, 8
BLOCK = 30  # output frames per block; 14 to 54 are about as fast
# torch's gates in the order of ONNX: input, output, forget, cell for an LSTM; update, reset, new for a GRU.
KINDS: dict[str, tuple[str, list[int], dict[str, Any]]] = {
    "LSTM": ("LSTM", [0, 3, 1, 2], {}),
    "GRU": ("GRU", [1, 0, 2], {"linear_before_reset": 1}),
    "RNN_TANH": ("RNN", [0], {}),
}


@dataclass
class _Graph:
    """The nodes and weights of a graph under construction."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, operation: str, *inputs: Any, output: str = "", **attributes: Any) -> str:
        """
        Add a node with one output and return the output's name. A string input is the name of a tensor. Numbers and
        arrays become constants.
        """
        output = output or f"{operation.lower()}_{len(self.nodes)}"
        names = [value if isinstance(value, str) else self._constant(np.asarray(value)) for value in inputs]
        self.nodes.append(helper.make_node(operation, names, [output], **attributes))
        return output

    def _constant(self, value: np.ndarray) -> str:
        name = f"constant_{len(self.weights)}"
        value = value.astype(np.float32) if value.dtype.kind == "f" else value
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name))
        return name

    def size(self, tensor: str, axis: int) -> str:
        """Return the size of an axis, (1,)."""
        return self.add("Shape", tensor, start=axis, end=axis + 1)

    def reshape(self, tensor: str, *sizes: int | str) -> str:
        """Reshape a tensor. Sizes are numbers or results of `size`."""
        shape = self.add("Concat", *(size if isinstance(size, str) else [size] for size in sizes), axis=0)
        return self.add("Reshape", tensor, shape)

    def mask(self, lengths: str, num_frames: str) -> str:
        """Map (batch,) lengths and (1,) frames to a mask (batch, frames), 1.0 on real frames."""
        frames = self.add("Range", 0, self.add("Squeeze", num_frames, [0]), 1)
        return self.add("Cast", self.add("Less", frames, self.add("Unsqueeze", lengths, [1])), to=TensorProto.FLOAT)


def build_graph(model: DeepSpeech2ForCTC) -> onnx.ModelProto:
    """
    Build the graph of a model in evaluation mode. Padding does not change its outputs.

    The inputs are those of the model: `input_features` (batch, frames, num_features) float32 and `attention_mask`
    (batch, frames) int32. The outputs are `logits` (batch, output frames, vocab_size), zero in the padding, and
    `output_lengths` (batch,) int64. The batch size and the number of frames are dynamic.
    """
    config, encoder = model.config, model.model
    graph = _Graph()
    lengths = graph.add("ReduceSum", graph.add("Cast", "attention_mask", to=TensorProto.INT64), [1], keepdims=0)
    mask = graph.mask(lengths, graph.size("input_features", 1))
    x = graph.add("Mul", "input_features", graph.add("Unsqueeze", mask, [2]))
    x = graph.add("Unsqueeze", graph.add("Transpose", x, perm=[0, 2, 1]), [1])
    for layer in encoder.convs:
        x = _convolution(graph, x, layer.conv, layer.batch_norm)
        x = graph.add("Clip", x, 0.0, float(config.activation_max))
        lengths = _output_lengths(graph, lengths, layer.conv)
        mask = graph.mask(lengths, graph.size(x, 3))
        x = graph.add("Mul", x, graph.add("Unsqueeze", mask, [1, 2]))

    # (batch, channels, rows, frames) -> (frames, batch, channels x rows), the sequence layout of ONNX
    x = graph.add("Transpose", graph.add("Reshape", x, [0, config.rnn_input_size, -1]), perm=[2, 0, 1])
    sequence_lens = graph.add("Cast", lengths, to=TensorProto.INT32)
    norm: nn.BatchNorm1d | None = None
    for index, layer in enumerate(encoder.layers):
        x = _recurrent(graph, x, layer, norm, sequence_lens)
        if encoder.lookahead is not None and index == len(encoder.layers) - 1:
            x = _lookahead(graph, x, encoder.lookahead.conv, float(config.activation_max))
        norm = encoder.norms[index]
        if encoder.adapters:
            x, norm = _adapted(graph, x, norm, encoder.adapters[index]), None
    scale, shift = _affine(norm, config.hidden_size)
    head = _array(model.ctc_head.weight)
    logits = graph.add("Add", graph.add("MatMul", x, (head * scale).T), head @ shift)
    logits = graph.add("Transpose", logits, perm=[1, 0, 2])
    graph.add("Mul", logits, graph.add("Unsqueeze", mask, [2]), output="logits")
    graph.add("Identity", lengths, output="output_lengths")

    value = helper.make_tensor_value_info
    inputs = [
        value("input_features", TensorProto.FLOAT, ["batch", "frames", config.num_features]),
        value("attention_mask", TensorProto.INT32, ["batch", "frames"]),
    ]
    outputs = [
        value("logits", TensorProto.FLOAT, ["batch", "output_frames", config.vocab_size]),
        value("output_lengths", TensorProto.INT64, ["batch"]),
    ]
    made = helper.make_graph(graph.nodes, config.model_type, inputs, outputs, graph.weights)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="deepspeech2")


def _sizes(conv: nn.Conv2d) -> list[tuple[int, int]]:
    """Return kernel, stride and padding, each (frequency, time)."""
    return [(int(size[0]), int(size[1])) for size in (conv.kernel_size, conv.stride, conv.padding)]


def _output_lengths(graph: _Graph, lengths: str, conv: nn.Conv2d) -> str:
    """Compute `DeepSpeech2Config.lengths_after_each_conv`. The Max is needed because ONNX division rounds to zero."""
    (_, kernel), (_, stride), (_, padding) = _sizes(conv)
    longer = graph.add("Add", lengths, 2 * padding - kernel + stride)
    return graph.add("Div", graph.add("Max", longer, 0), stride)


def _convolution(graph: _Graph, x: str, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> str:
    """Add a convolution with its batch norm: (batch, channels, rows, frames) -> the same layout after the stride."""
    scale, shift = _affine(norm)
    weight = _array(conv.weight) * scale[:, None, None, None]
    bias = _array(conv.bias) * scale + shift
    (_, kernel), (row_stride, stride), (row_padding, padding) = _sizes(conv)
    # ONNX Runtime's fast kernels need a multiple of 8 channels.
    if stride == 1 and kernel >= 5 and conv.in_channels % 8 == conv.out_channels % 8 == 0:
        return _convolution_by_blocks(graph, x, conv, weight, bias)
    return graph.add("Conv", x, weight, bias, strides=[row_stride, stride], pads=[row_padding, padding] * 2)


def _convolution_by_blocks(graph: _Graph, x: str, conv: nn.Conv2d, weight: np.ndarray, bias: np.ndarray) -> str:
    """
    Add a convolution without a stride over the frames. It transforms each block of frames, multiplies it with the
    transformed kernel, and transforms it back.
    """
    (_, kernel), (row_stride, _), (row_padding, padding) = _sizes(conv)
    block = BLOCK + 1 - kernel % 2  # so that a block reads an even number of frames
    to_products, of_kernel, to_frames = _block_transforms(block, kernel)
    count, channels, rows, num_frames = len(of_kernel), conv.out_channels, graph.size(x, 2), graph.size(x, 3)

    pads = [0, padding, 0, padding + block - 1]
    alone = graph.reshape(x, -1, 1, rows, num_frames)
    blocks = graph.add("Conv", alone, to_products[:, None, None, :], strides=[1, block], pads=pads)
    num_blocks = graph.size(blocks, 3)
    blocks = graph.reshape(blocks, -1, conv.in_channels, count, rows, num_blocks)
    blocks = graph.add("Transpose", blocks, perm=[0, 2, 1, 3, 4])
    blocks = graph.reshape(blocks, -1, count * conv.in_channels, rows, num_blocks)

    # Only the first product holds the constant. The inverse transform divides it by the frames that a block reads.
    biases = np.zeros((count, channels))
    biases[0] = bias * to_products.shape[1]
    weights = np.einsum("pt,ocrt->pocr", of_kernel, weight).reshape(count * channels, conv.in_channels, -1, 1)
    sizes: dict[str, Any] = {"group": count, "strides": [row_stride, 1], "pads": [row_padding, 0] * 2}
    products = graph.add("Conv", blocks, weights, biases.flatten(), **sizes)

    products = graph.reshape(products, -1, count, channels, graph.size(products, 2), num_blocks)
    x = graph.add("MatMul", graph.add("Transpose", products, perm=[0, 2, 3, 4, 1]), to_frames.T)
    x = graph.add("Reshape", x, [0, 0, 0, -1])
    return graph.add("Slice", x, [0], graph.add("Add", num_frames, 2 * padding - kernel + 1), [3])


def _block_transforms(block: int, kernel: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Return the matrices to_products (products, block + kernel - 1), of_kernel (products, kernel) and back (block,
    products). A correlation with `block` outputs is `back @ ((of_kernel @ kernel) * (to_products @ input))`.

    This is the discrete Fourier transform of real numbers. A product of two complex numbers, (a + ib)(c + id), takes
    three real products: c(a + b), a(d - c), b(c + d). Unlike Winograd's transforms, these do not lose precision as the
    block grows.
    """
    size = block + kernel - 1
    assert size % 2 == 0
    inputs = np.fft.rfft(np.eye(size), axis=0)
    kernels = np.fft.rfft(np.eye(size, kernel), axis=0).conj()
    ends, inner = [0, -1], slice(1, -1)  # the frequencies without an imaginary part, and the rest
    a, b, c, d = inputs[inner].real, inputs[inner].imag, kernels[inner].real, kernels[inner].imag
    unit = np.eye(size // 2 + 1)
    outputs = np.concatenate([unit[ends], (1 + 1j) * unit[inner], 1j * unit[inner], -unit[inner]])
    return (
        np.concatenate([inputs[ends].real, a + b, a, b]),
        np.concatenate([kernels[ends].real, c, d - c, c + d]),
        np.fft.irfft(outputs, n=size)[:, :block].T,
    )


def _recurrent(
    graph: _Graph, x: str, layer: DeepSpeech2RecurrentLayer, norm: nn.BatchNorm1d | None, sequence_lens: str
) -> str:
    """Add a recurrent layer after a batch norm: (frames, batch, input size) -> (frames, batch, hidden_size)."""
    rnn = layer.rnn
    operation, order, more = KINDS[rnn.mode]
    scale, shift = _affine(norm, rnn.input_size)

    def gates(name: str, suffix: str) -> np.ndarray:
        """Return (gates x hidden_size, ...) in the gate order of ONNX."""
        values = _array(getattr(rnn, name + suffix))
        return values.reshape(len(order), rnn.hidden_size, -1)[order].reshape(values.shape)

    weights, recurrent_weights, biases = [], [], []
    for suffix in ("_l0", "_l0_reverse")[: 1 + rnn.bidirectional]:
        weight = gates("weight_ih", suffix)
        bias, recurrent_bias = (
            gates(name, suffix) if rnn.bias else np.zeros(len(weight)) for name in ("bias_ih", "bias_hh")
        )
        weights.append(weight * scale)
        recurrent_weights.append(gates("weight_hh", suffix))
        biases.append(np.concatenate([bias + weight @ shift, recurrent_bias]))
    stacked = [np.stack(values) for values in (weights, recurrent_weights, biases)]
    attributes = {"hidden_size": rnn.hidden_size, "direction": "bidirectional" if rnn.bidirectional else "forward"}
    output = graph.add(operation, x, *stacked, sequence_lens, **attributes, **more)
    return graph.add("ReduceSum", output, [1], keepdims=0)


def _lookahead(graph: _Graph, x: str, conv: nn.Conv1d, activation_max: float) -> str:
    """
    Add the lookahead, (frames, batch, hidden_size) -> the same shape, as a 2-D convolution, the only kind with a fast
    kernel.
    """
    x = graph.add("Unsqueeze", graph.add("Transpose", x, perm=[1, 2, 0]), [2])
    weight = _array(conv.weight)[:, :, None]
    x = graph.add("Conv", x, weight, group=conv.groups, pads=[0, 0, 0, weight.shape[-1] - 1])
    return graph.add("Transpose", graph.add("Squeeze", graph.add("Clip", x, 0.0, activation_max), [2]), perm=[2, 0, 1])


def _adapted(graph: _Graph, x: str, norm: nn.BatchNorm1d, adapter: DeepSpeech2Adapter) -> str:
    """Add a batch norm and the adapter after it, which cannot be folded into neighbouring weights. Shapes stay."""
    scale, shift = _affine(norm)
    x = graph.add("Add", graph.add("Mul", x, scale), shift)
    narrow = graph.add("Relu", graph.add("MatMul", x, _array(adapter.weight).T))
    return graph.add("Add", x, graph.add("MatMul", narrow, _array(adapter.up).T))


def _affine(norm: nn.BatchNorm1d | nn.BatchNorm2d | None, size: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return scale and shift of a batch norm in evaluation mode. Without a norm they are `size` ones and zeros."""
    if norm is None:
        return np.ones(size), np.zeros(size)
    scale = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
    return scale, _array(norm.bias) - _array(norm.running_mean) * scale


def _array(tensor: torch.Tensor | None) -> np.ndarray:
    assert tensor is not None
    return tensor.detach().double().cpu().numpy()
