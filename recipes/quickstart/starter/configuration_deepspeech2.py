"""Configuration of DeepSpeech2 (Amodei et al., 2015, https://arxiv.org/abs/1512.02595)."""

import math
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class DeepSpeech2Config(PreTrainedConfig):
    r"""
    The configuration of a DeepSpeech2 acoustic model. The defaults are those of deepspeech.pytorch: 86.6 M parameters.

    Args:
        vocab_size (`int`): number of tokens, including the CTC blank.
        num_features (`int`): frequency bins per frame of `input_features`: `n_fft // 2 + 1`, or the number of mel bins.
        hop_length (`int`): samples between two frames. With the time strides it gives `inputs_to_logits_ratio`.
        conv_channels (`list[int]`): output channels of each 2-D convolution.
        conv_kernel_sizes, conv_strides, conv_paddings (`list[list[int]]`): one `[frequency, time]` pair per
            convolution.
        activation_max (`float`): upper bound of the clipped ReLU after each convolution and after the lookahead.
        rnn_type (`str`): `"lstm"`, `"gru"` or `"rnn"` (tanh).
        hidden_size, num_hidden_layers (`int`): width and number of the recurrent layers.
        bidirectional (`bool`): whether the recurrent layers run in both directions, whose outputs are summed. If not,
            a lookahead convolution follows the last layer.
        lookahead_context (`int`): frames that the lookahead convolution sees, including the current one.
        rnn_bias (`bool`): whether the recurrent layers have biases.
        dropout (`float`): dropout on the output of each recurrent layer.
        adapter_size (`int`): width of the residual adapter after each recurrent layer and its batch norm. 0 means no
            adapters.
        ctc_loss_reduction (`str`): `"mean"` (per label, then over the batch), `"sum"` or `"none"`.
        ctc_zero_infinity (`bool`): whether to zero the loss of targets that have no valid alignment.

    Raises:
        StrictDataclassClassValidationError: the sizes contradict each other. The message names the fields.
    """

    model_type = "deepspeech2"
    # Trainer then gives compute_metrics the logits alone as `predictions`.
    keys_to_ignore_at_inference = ["output_lengths", "hidden_states"]

    vocab_size: int = 29
    num_features: int = 161
    hop_length: int = 160
    conv_channels: list[int] | tuple[int, ...] = (32, 32)
    conv_kernel_sizes: list[list[int]] | tuple[tuple[int, int], ...] = ((41, 11), (21, 11))
    conv_strides: list[list[int]] | tuple[tuple[int, int], ...] = ((2, 2), (2, 1))
    conv_paddings: list[list[int]] | tuple[tuple[int, int], ...] = ((20, 5), (10, 5))
    activation_max: float | int = 20.0
    rnn_type: str = "lstm"
    hidden_size: int = 1024
    num_hidden_layers: int = 5
    bidirectional: bool = True
    lookahead_context: int = 20
    rnn_bias: bool = True
    dropout: float | int = 0.0
    adapter_size: int = 0
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    ctc_loss_reduction: str = "mean"
    ctc_zero_infinity: bool = True

    def validate_sizes(self) -> None:
        for name in (
            "vocab_size",
            "num_features",
            "hop_length",
            "hidden_size",
            "num_hidden_layers",
            "lookahead_context",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.adapter_size < 0:
            raise ValueError(f"adapter_size is {self.adapter_size}; expected 0 (no adapters) or a positive width")
        num_convolutions = len(self.conv_channels)
        if not num_convolutions or min(self.conv_channels) < 1:
            raise ValueError(f"conv_channels is {self.conv_channels}; expected a positive number for each convolution")
        for name in ("conv_kernel_sizes", "conv_strides", "conv_paddings"):
            pairs = getattr(self, name)
            if len(pairs) != num_convolutions or any(len(pair) != 2 for pair in pairs):
                raise ValueError(
                    f"{name} is {pairs}; expected one [frequency, time] pair for each of the "
                    f"{num_convolutions} conv_channels"
                )
            least = 0 if name == "conv_paddings" else 1
            if any(number < least for pair in pairs for number in pair):
                raise ValueError(f"{name} is {pairs}; expected numbers of at least {least}")
        if self.rnn_type not in ("lstm", "gru", "rnn"):
            raise ValueError(f"rnn_type is {self.rnn_type!r}; expected 'lstm', 'gru' or 'rnn'")
        if self.activation_max <= 0:
            raise ValueError(f"activation_max is {self.activation_max}; expected more than 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; expected a probability in [0, 1)")
        if self.ctc_loss_reduction not in ("mean", "sum", "none"):
            raise ValueError(f"ctc_loss_reduction is {self.ctc_loss_reduction!r}; expected 'mean', 'sum' or 'none'")
        if self.pad_token_id is None or not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(
                f"pad_token_id (the CTC blank) is {self.pad_token_id}; expected an id below vocab_size "
                f"{self.vocab_size}"
            )
        rows = self._after_each_conv(self.num_features, axis=0)
        if min(rows) < 1:
            raise ValueError(
                f"the convolutions reduce num_features {self.num_features} to {', then '.join(map(str, rows))} rows; "
                "expected at least 1: use smaller frequency kernels or strides, or more padding"
            )

    @property
    def time_stride(self) -> int:
        """The number of input frames per output frame."""
        return math.prod(stride[1] for stride in self.conv_strides)

    @property
    def inputs_to_logits_ratio(self) -> int:
        """The number of audio samples per output frame. The pipeline's chunking and timestamps rely on it."""
        return self.hop_length * self.time_stride

    @property
    def rnn_input_size(self) -> int:
        """The input size of the first recurrent layer: channels times frequency rows after the convolutions."""
        return self.conv_channels[-1] * self._after_each_conv(self.num_features, axis=0)[-1]

    def lengths_after_each_conv(self, input_lengths: Any) -> list[Any]:
        """Return the frames after each convolution for clips of `input_lengths` frames (int or integer tensor)."""
        return self._after_each_conv(input_lengths, axis=1)

    def _after_each_conv(self, sizes: Any, axis: int) -> list[Any]:
        after_each = []
        for kernel, stride, padding in zip(self.conv_kernel_sizes, self.conv_strides, self.conv_paddings, strict=True):
            sizes = (sizes + 2 * padding[axis] - kernel[axis]) // stride[axis] + 1
            sizes = sizes * (sizes > 0)
            after_each.append(sizes)
        return after_each


__all__ = ["DeepSpeech2Config"]
