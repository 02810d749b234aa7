"""DeepSpeech2: 2-D convolutions over the spectrogram, recurrent layers, a linear CTC head.

Amodei et al., 2015, https://arxiv.org/abs/1512.02595, with the architecture of deepspeech.pytorch. Lengths are exact
integers and every module masks the padding, so padding never changes a result.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput, can_return_tuple

from .configuration_deepspeech2 import DeepSpeech2Config

# How LSTMs run where cuDNN's persistent kernels fit: "packed", the usual way, "padded", or "streams": padded with the
# two directions side by side. `make gpu-proof` measures all three; no GPU has yet.
CUDA_PATH = "packed"
PERSISTENT_MULTIPLES = (8, 128)  # of the batch size and of the input size


@dataclass
class DeepSpeech2ModelOutput(ModelOutput):
    """The output of the encoder.

    Args:
        last_hidden_state: (batch, output frames, hidden_size), zero in the padding.
        output_lengths: (batch,) valid output frames of each clip.
        hidden_states: the output of the convolutions and of each recurrent layer, if requested.
    """

    last_hidden_state: torch.FloatTensor | None = None
    output_lengths: torch.LongTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class DeepSpeech2CTCOutput(ModelOutput):
    """The output of the CTC model.

    Args:
        loss: the CTC loss, if `labels` were given.
        logits: (batch, output frames, vocab_size) before the softmax, zero in the padding: the argmax is the blank.
        output_lengths, hidden_states: see [`DeepSpeech2ModelOutput`].
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    output_lengths: torch.LongTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None


def _frame_mask(lengths: torch.Tensor, num_frames: int) -> torch.Tensor:
    """Return a (batch, num_frames) bool mask that is true on real frames."""
    return torch.arange(num_frames, device=lengths.device) < lengths[:, None]


def _masked_batch_norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """
    Normalise `x` (batch, channels, ..., frames), zero in the padding, with training statistics of `lengths` (batch,)
    real frames. A frozen norm never updates its own.
    """
    shape = [1, -1] + [1] * (x.dim() - 2)
    mask = _frame_mask(lengths, x.shape[-1]).view(x.shape[0], *shape[2:], x.shape[-1])
    training = norm.training and norm.weight.requires_grad
    pivot = norm.running_mean.float()
    if training:
        dims = [dim for dim in range(x.dim()) if dim != 1]
        count = mask.expand(x.shape[0], 1, *x.shape[2:]).sum()
        with torch.no_grad():
            pivot = (x.float() * mask).sum(dims) / count
    # The only copy of the spectrogram that autograd keeps. Its mean is 0, so its squares lose no precision.
    real = (x.float() - pivot.view(shape)) * mask
    if training:
        mean = real.sum(dims) / count
        variance = (real.square().sum(dims) / count - mean.square()).clamp(min=0)
        with torch.no_grad():
            unbiased = variance * (count / (count - 1).clamp(min=1))
            norm.running_mean.lerp_((pivot + mean).to(norm.running_mean.dtype), norm.momentum)
            norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)
            norm.num_batches_tracked.add_(1)
    else:
        mean, variance = torch.zeros_like(pivot), norm.running_var.float()
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    shift = norm.bias - mean * scale
    return torch.addcmul(shift.view(shape), real, scale.view(shape)).to(x.dtype) * mask


class DeepSpeech2ConvLayer(nn.Module):
    """A convolution over (frequency, time), batch norm and clipped ReLU. The padding is masked before and after."""

    def __init__(self, config: DeepSpeech2Config, index: int):
        super().__init__()
        in_channels = 1 if index == 0 else config.conv_channels[index - 1]
        sizes = (config.conv_kernel_sizes[index], config.conv_strides[index], config.conv_paddings[index])
        self.conv = nn.Conv2d(in_channels, config.conv_channels[index], *map(tuple, sizes))
        self.batch_norm = nn.BatchNorm2d(config.conv_channels[index])
        self.activation = nn.Hardtanh(0.0, float(config.activation_max), inplace=True)

    def forward(self, hidden_states: torch.Tensor, output_lengths: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, rows, frames), zero in the padding, to the same layout after the stride."""
        run = self._time_folded if folds_time(hidden_states.device.type, self.conv) else self.conv
        return self.activation(_masked_batch_norm(self.batch_norm, run(hidden_states), output_lengths))

    def _time_folded(self, x: torch.Tensor) -> torch.Tensor:
        """Run the convolution of (batch, 1, rows, frames), with the frames of each time stride as channels."""
        stride, width, padding = self.conv.stride[1], self.conv.kernel_size[1], int(self.conv.padding[1])
        weight = nn.functional.pad(self.conv.weight, (0, -width % stride))
        end = (x.shape[-1] + 2 * padding - width) // stride * stride + weight.shape[-1] - padding
        x = nn.functional.pad(x, (padding, end - x.shape[-1]))
        x, weight = (one.unflatten(-1, (-1, stride)).movedim(-1, 1).flatten(1, 2) for one in (x, weight))
        return nn.functional.conv2d(x, weight, self.conv.bias, (self.conv.stride[0], 1), (self.conv.padding[0], 0))


def folds_time(device_type: str, conv: nn.Conv2d) -> bool:
    """Return whether a convolution runs with its time stride folded: one channel leaves oneDNN's AVX2 kernels empty."""
    fits = device_type == "cpu" and conv.in_channels == 1 and conv.stride[1] > 1
    traced = torch.jit.is_tracing() or torch.compiler.is_compiling()  # a graph keeps the convolution
    return fits and not traced and torch.backends.cpu.get_cpu_capability() == "AVX2"


def choose_path(device_type: str, dtype: torch.dtype, batch_size: int, rnn: nn.RNNBase) -> str:
    """
    Return how a recurrent layer runs: "packed", "padded" or "streams". All give the same result.

    The fused CPU kernels run only on padded batches. cuDNN's persistent kernels want an unpacked fp16 batch of at most
    128 clips, one direction, and at most 1,024 units, a multiple of 128 (PyTorch, `get_algo` in native/cudnn/RNN.cpp).
    """
    if device_type != "cuda":
        return "padded"
    small = batch_size <= 128 and rnn.hidden_size <= 1024 and rnn.hidden_size % 128 == 0
    return CUDA_PATH if small and dtype == torch.float16 and isinstance(rnn, nn.LSTM) else "packed"


class DeepSpeech2RecurrentLayer(GradientCheckpointingLayer):
    """One LSTM, GRU or RNN layer. The outputs of two directions are summed."""

    def __init__(self, config: DeepSpeech2Config, input_size: int):
        super().__init__()
        rnn_class = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[config.rnn_type]
        options = {"bias": config.rnn_bias, "batch_first": True, "bidirectional": config.bidirectional}
        self.rnn = rnn_class(input_size, config.hidden_size, **options)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden_states: torch.Tensor, lengths: torch.Tensor, host_lengths: torch.Tensor) -> torch.Tensor:
        """Map (batch, frames, input size) to (batch, frames, hidden_size). `host_lengths` are `lengths` on the CPU."""
        if hidden_states.is_cuda and torch.is_autocast_enabled("cuda"):
            # Autocast runs cuDNN's RNNs in fp16 whatever was asked for (AutocastRNN.cpp). bf16 input would run without
            # cuDNN, one kernel per frame, below its version 9.13 and below compute capability 8.0.
            hidden_states = hidden_states.half()
        path = choose_path(hidden_states.device.type, hidden_states.dtype, hidden_states.shape[0], self.rnn)
        run, how = (self._packed, host_lengths) if path == "packed" else (self._padded, path == "streams")
        return self.dropout(run(hidden_states, lengths, how)) * _frame_mask(lengths, hidden_states.shape[1])[:, :, None]

    def _packed(self, hidden_states: torch.Tensor, lengths: torch.Tensor, host_lengths: torch.Tensor) -> torch.Tensor:
        # Sorted by pack_padded_sequence, the GPU would wait for indices on the CPU. accelerate's hooks move arguments.
        order, sizes = lengths.argsort(descending=True), host_lengths.cpu().clamp(min=1).sort(descending=True).values
        packed = pack_padded_sequence(hidden_states.index_select(0, order), sizes, batch_first=True)
        output, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=hidden_states.shape[1])
        return output.unflatten(-1, (-1, self.rnn.hidden_size)).sum(dim=-2).index_select(0, order.argsort())

    def _padded(self, hidden_states: torch.Tensor, lengths: torch.Tensor, two_streams: bool = False) -> torch.Tensor:
        """Run each direction, the backward one on rows flipped within their length, in turn or in two CUDA streams."""
        if not self.rnn.bidirectional:
            return self._one_direction(hidden_states, "")
        batch_size, num_frames, _ = hidden_states.shape
        frames = torch.arange(num_frames, device=lengths.device)
        flipped = torch.where(frames < lengths[:, None], lengths[:, None] - 1 - frames, frames)
        flipped = (flipped + torch.arange(batch_size, device=lengths.device)[:, None] * num_frames).flatten()

        def flip(x: torch.Tensor) -> torch.Tensor:
            return x.flatten(0, 1).index_select(0, flipped).view_as(x)

        if not two_streams:
            return self._one_direction(hidden_states, "") + flip(self._one_direction(flip(hidden_states), "_reverse"))
        main, side = torch.cuda.current_stream(), torch.cuda.Stream()
        reverse = flip(hidden_states)
        side.wait_stream(main)
        with torch.cuda.stream(side):
            reverse.record_stream(side)
            backward = self._one_direction(reverse, "_reverse")
        forward = self._one_direction(hidden_states, "")
        main.wait_stream(side)
        backward.record_stream(main)
        return forward + flip(backward)

    def _one_direction(self, hidden_states: torch.Tensor, suffix: str) -> torch.Tensor:
        names = ["weight_ih_l0", "weight_hh_l0"] + (["bias_ih_l0", "bias_hh_l0"] if self.rnn.bias else [])
        weights = [getattr(self.rnn, name + suffix) for name in names]
        batch_size = hidden_states.shape[0]
        if hidden_states.is_cuda:
            hidden_states, weights[0] = _fit_persistent_kernels(hidden_states, weights[0])
        state = hidden_states.new_zeros(1, hidden_states.shape[0], self.rnn.hidden_size)
        # has_biases, num_layers, dropout, train, bidirectional, batch_first
        options = (self.rnn.bias, 1, 0.0, self.training, False, True)
        if isinstance(self.rnn, nn.LSTM):
            return torch.lstm(hidden_states, (state, state), weights, *options)[0][:batch_size]
        kernel = torch.gru if isinstance(self.rnn, nn.GRU) else torch.rnn_tanh
        return kernel(hidden_states, state, weights, *options)[0][:batch_size]


def _fit_persistent_kernels(x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad a batch with clips of zeros, and its input size and the (4 * hidden, input) weights with columns of zeros."""
    rows, columns = (-size % multiple for size, multiple in zip(x.shape[::2], PERSISTENT_MULTIPLES, strict=True))
    return nn.functional.pad(x, (0, columns, 0, 0, 0, rows)), nn.functional.pad(weight, (0, columns))


class DeepSpeech2Lookahead(nn.Module):
    """A depthwise convolution over the current and the next frames (Wang et al., 2016), then a clipped ReLU."""

    def __init__(self, config: DeepSpeech2Config):
        super().__init__()
        self.context, size = config.lookahead_context, config.hidden_size
        self.conv = nn.Conv1d(size, size, self.context, groups=size, bias=False)
        self.activation = nn.Hardtanh(0.0, float(config.activation_max))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map (batch, frames, hidden_size) to the same shape."""
        hidden_states = nn.functional.pad(hidden_states.transpose(1, 2), (0, self.context - 1))
        return self.activation(self.conv(hidden_states)).transpose(1, 2)


class DeepSpeech2Adapter(nn.Linear):
    """A residual adapter (Houlsby et al., 2019). It adds zero until it is trained, and always in the padding."""

    def __init__(self, config: DeepSpeech2Config):
        super().__init__(config.hidden_size, config.adapter_size, bias=False)
        self.up = nn.Parameter(torch.zeros(config.hidden_size, config.adapter_size))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu(super().forward(hidden_states)) @ self.up.T


class DeepSpeech2PreTrainedModel(PreTrainedModel):
    """The base class of the encoder and the CTC model: initial weights and output lengths."""

    config_class = DeepSpeech2Config
    base_model_prefix = "model"
    main_input_name = "input_features"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["DeepSpeech2RecurrentLayer"]
    _keep_in_fp32_modules_strict = ["batch_norm", "norms"]  # statistics lose 0.4 % in bf16
    accepts_loss_kwargs = False  # the loss is a mean over the batch, so Trainer divides by the accumulation steps

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            init.kaiming_uniform_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
            if isinstance(module, DeepSpeech2Adapter):
                init.zeros_(module.up)
        elif isinstance(module, nn.RNNBase):
            for name, parameter in module.named_parameters():
                kinds = {"weight_ih": init.xavier_uniform_, "weight_hh": init.orthogonal_}
                kinds.get(name[:9], init.zeros_)(parameter)
        else:
            super()._init_weights(module)

    def freeze_feature_encoder(self) -> None:
        """Freeze the convolutions with their batch norms, so that only the layers behind them learn."""
        self.base_model.convs.requires_grad_(False)

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """Load a checkpoint. On a GPU, each LSTM's weights then lie side by side, as cuDNN wants them."""
        loaded = super().from_pretrained(*args, **kwargs)
        for layer in (loaded[0] if isinstance(loaded, tuple) else loaded).base_model.layers:
            layer.rnn.flatten_parameters()  # does nothing on a CPU
        return loaded

    def get_output_lengths(self, input_lengths: torch.Tensor | int) -> torch.Tensor | int:
        """Return the frames after the convolutions for clips of `input_lengths` frames (int or integer tensor)."""
        return self.config.lengths_after_each_conv(input_lengths)[-1]


class DeepSpeech2Model(DeepSpeech2PreTrainedModel):
    """The acoustic encoder: it maps `input_features` to normalised hidden states, without the CTC head."""

    def __init__(self, config: DeepSpeech2Config):
        super().__init__(config)
        self.convs = nn.ModuleList(DeepSpeech2ConvLayer(config, i) for i in range(len(config.conv_channels)))
        sizes = [config.rnn_input_size, *[config.hidden_size] * (config.num_hidden_layers - 1)]
        self.layers = nn.ModuleList(DeepSpeech2RecurrentLayer(config, size) for size in sizes)
        # One before each recurrent layer except the first, and one before the head. They are outside the layers, which
        # gradient checkpointing runs twice, so that each batch updates the statistics once.
        self.norms = nn.ModuleList(nn.BatchNorm1d(config.hidden_size) for _ in range(config.num_hidden_layers))
        self.adapters = nn.ModuleList(DeepSpeech2Adapter(config) for _ in self.norms if config.adapter_size)
        self.lookahead = None if config.bidirectional else DeepSpeech2Lookahead(config)
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> DeepSpeech2ModelOutput:
        """
        Encode a padded batch.

        Args:
            input_features: (batch, frames, num_features) float.
            attention_mask: (batch, frames), 1 on real frames, padding on the right. Without it all frames are real.
            output_hidden_states: whether to return the output of the convolutions and of each recurrent layer too.

        Raises:
            ValueError: the features have another shape or too few frames, or the mask has padding before real frames.
        """
        if input_features.dim() != 3 or input_features.shape[-1] != self.config.num_features:
            expected = f"(batch, frames, num_features={self.config.num_features})"
            raise ValueError(f"input_features has shape {tuple(input_features.shape)}; expected {expected}")
        keeps = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        if self.get_output_lengths(num_frames := input_features.shape[1]) < 1:
            raise ValueError(f"input_features has {num_frames} frames, too few for the convolutions; pass longer clips")
        if attention_mask is None:
            attention_mask = torch.ones(input_features.shape[:2], dtype=torch.long, device=input_features.device)
        all_lengths = self.config.lengths_after_each_conv(attention_mask.long().sum(-1))
        gaps = (attention_mask[:, 1:] > attention_mask[:, :-1]).sum(-1)
        host_lengths, gaps = torch.stack([all_lengths[-1], gaps]).cpu()  # the encoder waits for a GPU only here
        if gaps.any():
            raise ValueError("attention_mask has real frames after padding; expected all padding on the right")

        hidden_states = (input_features * attention_mask[:, :, None]).to(self.dtype).transpose(1, 2)[:, None]
        for layer, output_lengths in zip(self.convs, all_lengths, strict=True):
            hidden_states = layer(hidden_states, output_lengths)
        all_hidden_states = [hidden_states := hidden_states.flatten(1, 2).transpose(1, 2)]

        for index, layer in enumerate(self.layers):
            if index > 0:
                hidden_states = self.normalise(index - 1, hidden_states, output_lengths)
            hidden_states = layer(hidden_states, output_lengths, host_lengths)
            all_hidden_states.append(hidden_states)
        if self.lookahead is not None:
            hidden_states = self.lookahead(hidden_states)
        last = self.normalise(-1, hidden_states, output_lengths)
        return DeepSpeech2ModelOutput(last, output_lengths, tuple(all_hidden_states) if keeps else None)

    def normalise(self, index: int, hidden_states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        hidden_states = _masked_batch_norm(self.norms[index], hidden_states.transpose(1, 2), lengths).transpose(1, 2)
        return hidden_states + self.adapters[index](hidden_states) if self.adapters else hidden_states


class DeepSpeech2ForCTC(DeepSpeech2PreTrainedModel):
    """DeepSpeech2 with a linear head over the vocabulary, trained by CTC."""

    def __init__(self, config: DeepSpeech2Config):
        super().__init__(config)
        self.model = DeepSpeech2Model(config)
        self.ctc_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def save_pretrained(self, *args, **kwargs):
        """Save the model, and add the encoder's code for AutoModel to the `auto_map` of the configuration."""
        if self._auto_class is not None:
            encoder = {"AutoModel": f"{__name__.split('.')[-1]}.{DeepSpeech2Model.__name__}"}
            self.config.auto_map = getattr(self.config, "auto_map", {}) | encoder
        super().save_pretrained(*args, **kwargs)

    def resize_token_embeddings(self, new_num_tokens=None, *args, **kwargs):
        """Return the head. Another size is a ValueError: each row is a character, and a new one starts from another."""
        if new_num_tokens not in (None, self.config.vocab_size):
            raise ValueError(
                f"the vocabulary has {self.config.vocab_size} characters, not {new_num_tokens}. Change it with "
                "recipes/finetune.py --new_characters, or with deepspeech2.training.methods.alphabet.change_alphabet"
            )
        return self.ctc_head

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs,
    ) -> DeepSpeech2CTCOutput:
        """
        Return the logits of a padded batch, and its loss if it has labels.

        Args:
            input_features, attention_mask: see [`DeepSpeech2Model.forward`].
            labels: (batch, labels) token ids, padded with -100. With them the output has a loss.
            kwargs: `output_hidden_states`, as in [`DeepSpeech2Model.forward`].
        """
        outputs = self.model(input_features, attention_mask, return_dict=True, **kwargs)
        logits = self.ctc_head(outputs.last_hidden_state)
        loss = None
        if labels is not None:
            options = {"reduction": self.config.ctc_loss_reduction, "zero_infinity": self.config.ctc_zero_infinity}
            loss = self.loss_function(logits, labels, outputs.output_lengths, self.config.pad_token_id, **options)
        return DeepSpeech2CTCOutput(loss, logits, outputs.output_lengths, outputs.hidden_states)


__all__ = ["DeepSpeech2ForCTC", "DeepSpeech2Model", "DeepSpeech2PreTrainedModel"]
