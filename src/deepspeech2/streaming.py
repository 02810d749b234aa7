"""A unidirectional model over sound that is still coming: log-probabilities as soon as they are final.

>>> stream = Stream(model, processor)
>>> for samples in microphone:
...     log_probs = stream.push(samples)
>>> log_probs = stream.finish()
"""

import copy

import numpy as np
import torch

from .modeling_deepspeech2 import DeepSpeech2ForCTC
from .processing_deepspeech2 import DeepSpeech2Processor

# A matrix of few rows is multiplied in another order than one of many, which alone would make differences of 1e-5.
ROWS = 16


class Stream:
    """
    What it says of a recording is what the model says of the whole, however the samples were cut into pieces. The
    modules are the model's own, each with what it still needs of what came before: samples of the unfinished frame,
    frames under the convolutions' windows, recurrent states, states that the lookahead has not passed. That is all
    that is kept, an hour on no more than a second on.

    Args:
        model: unidirectional, in evaluation mode; its mode, device and weights are left as they are.
        processor: the model's, with fixed normalisation.

    Raises:
        ValueError: a model or processor that needs the end of a clip before it can say anything.
    """

    def __init__(self, model: DeepSpeech2ForCTC, processor: DeepSpeech2Processor) -> None:
        extractor, config = processor.feature_extractor, model.config
        train = "train one by recipes/commands/streaming.yaml"
        faults = []
        if config.bidirectional:
            faults.append(f"the model is bidirectional, and so needs the end of a clip first: {train}")
        if extractor.normalization != "fixed":
            faults.append(
                f"the processor's normalization is {extractor.normalization!r}, of whole clips, but a stream needs "
                f"'fixed': {train}"
            )
        if model.training:
            faults.append("the model is in training mode: call model.eval()")
        if faults:
            raise ValueError("no stream: " + "; ".join(faults))
        self.model, self.sampling_rate = model, extractor.sampling_rate
        self._extractor, self._make_frames = extractor, extractor.framer()
        self._convs = copy.deepcopy(model.model.convs)
        for layer in self._convs:  # the windows bring the frames that the padding stands for
            layer.conv.padding = (layer.conv.padding[0], 0)
        self.reset()

    def reset(self) -> None:
        """Forgets what came: the next sample is the first of another recording."""
        extractor, config = self._extractor, self.model.config
        self._margin = extractor.n_fft // 2
        self._first: np.ndarray | None = np.zeros(0, np.float32)  # until there is enough to extend the start by
        self._last = np.zeros(0, np.float32)  # what the end is extended by
        self._samples = _Windows(extractor.n_fft, extractor.hop_length)
        self._under_convs = [
            _Windows(kernel[1], stride[1], padding[1])
            for kernel, stride, padding in zip(
                config.conv_kernel_sizes, config.conv_strides, config.conv_paddings, strict=True
            )
        ]
        self._paired = _Windows(1, 1, least=2)
        self._states: list[torch.Tensor | tuple[torch.Tensor, torch.Tensor] | None] = [None] * config.num_hidden_layers
        self._ahead = _Windows(config.lookahead_context, 1, after=config.lookahead_context - 1)

    @property
    def delay_s(self) -> float:
        """From the middle of an output frame to the last sample that is needed for it and for the next one."""
        config, samples, stride = self.model.config, self._margin, self._extractor.hop_length
        for kernel, step in zip(config.conv_kernel_sizes, config.conv_strides, strict=True):
            samples += stride * ((kernel[1] - 1) / 2)
            stride *= step[1]
        return (samples + stride * config.lookahead_context) / self.sampling_rate

    def push(self, samples: np.ndarray) -> torch.Tensor:
        """
        Args:
            samples: (n,) floats in [-1, 1] at the model's rate, also none.

        Returns:
            Log-probabilities (t, V) float32, on the CPU, of the frames that have become final, at least two at a time;
            often of none.

        Raises:
            ValueError: other shapes, integers, or samples that are not finite.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
            raise ValueError(
                f"samples have shape {samples.shape} and type {samples.dtype}; expected floats (n,) in [-1, 1]: "
                "average channels, divide 16-bit audio by 32768"
            )
        if not np.isfinite(samples).all():
            raise ValueError("samples hold NaN or infinite numbers; expected finite ones in [-1, 1]")
        samples = samples.astype(np.float32, copy=False)
        self._last = np.concatenate([self._last, samples])[-self._margin - 1 :]
        if self._first is not None:
            self._first = np.concatenate([self._first, samples])
            if len(self._first) <= self._margin:
                return self._advance(None)
            samples, self._first = self._extended(self._first, (self._margin, 0)), None
        return self._advance(torch.from_numpy(samples))

    def finish(self) -> torch.Tensor:
        """The rest, (t, V), now that no more is to come; the next sample is the first of another recording."""
        if self._first is None:
            end = self._extended(self._last, (0, self._margin))[len(self._last) :]
        elif len(self._first):
            end = self._extended(self._first, (self._margin, self._margin))
        else:
            end = self._first
        log_probs = self._advance(torch.from_numpy(end), ended=True)
        self.reset()
        return log_probs

    def _extended(self, samples: np.ndarray, margins: tuple[int, int]) -> np.ndarray:
        return np.pad(samples, margins, mode=self._extractor.pad_mode)

    @torch.inference_mode()
    def _advance(self, samples: torch.Tensor | None, ended: bool = False) -> torch.Tensor:
        """The way of `DeepSpeech2Model.forward`, as far as each module gets."""
        model = self.model.model
        hidden = self._samples.take(samples, ended)
        if hidden is not None:
            more = max(ROWS - self._samples.count, 0) * self._extractor.hop_length
            hidden = (
                self._make_frames(torch.nn.functional.pad(hidden, (0, more)))[: self._samples.count]
                .to(self.model.device, self.model.dtype)
                .T[None, None]
            )
        for layer, windows in zip(self._convs, self._under_convs, strict=True):
            hidden = windows.take(hidden, ended)
            if hidden is not None:
                hidden = layer(hidden, _length(windows.count, hidden))
        # One frame alone would be multiplied in another order than in the whole, and cost as much as two.
        hidden = self._paired.take(hidden, ended)
        if hidden is not None:
            hidden = hidden.flatten(1, 2).transpose(1, 2)
            length = _length(hidden.shape[1], hidden)
            for index, layer in enumerate(model.layers):
                if index > 0:
                    hidden = model.normalise(index - 1, hidden, length)
                hidden, self._states[index] = layer.rnn(hidden, self._states[index])
            hidden = hidden.transpose(1, 2)
        hidden = self._ahead.take(hidden, ended)
        if hidden is None:
            return torch.zeros(0, self.model.config.vocab_size)
        hidden = model.lookahead(hidden.transpose(1, 2))[:, : self._ahead.count]
        hidden = model.normalise(-1, hidden, _length(self._ahead.count, hidden))
        count = hidden.shape[1]
        hidden = torch.nn.functional.pad(hidden, (0, 0, 0, max(ROWS - count, 0)))
        return self.model.ctc_head(hidden)[0, :count].float().log_softmax(-1).cpu()


class _Windows:
    """
    What windows over the last axis of a sequence still need of it, while it comes in pieces.

    Args:
        size, step: of the windows.
        padding: zeros at both ends.
        after: zeros at the end, if not as many.
        least: windows that are taken at once, but at the end.
    """

    def __init__(self, size: int, step: int, padding: int = 0, after: int | None = None, least: int = 1) -> None:
        self.size, self.step = size, step
        self.before, self.after = padding, padding if after is None else after
        self.least = least
        self.count = 0  # of the windows that were taken last
        self._kept: torch.Tensor | None = None

    def take(self, piece: torch.Tensor | None, ended: bool) -> torch.Tensor | None:
        """(..., n), or None for nothing -> (..., m), all windows that are now full; None for none."""
        if self._kept is None and piece is not None:
            self._kept = piece.new_zeros(*piece.shape[:-1], self.before)
        if self._kept is None:
            return None
        pieces = [self._kept] if piece is None else [self._kept, piece]
        if ended:
            pieces.append(self._kept.new_zeros(*self._kept.shape[:-1], self.after))
        kept = torch.cat(pieces, -1)
        # While more is to come no window is taken before all that it steps over is there too.
        needed = self.size if ended else max(self.size, self.step)
        self.count = max((kept.shape[-1] - needed) // self.step + 1, 0)
        if self.count < self.least and not ended:
            self.count = 0
        self._kept = kept[..., self.count * self.step :].clone()
        return kept[..., : (self.count - 1) * self.step + self.size] if self.count else None


def _length(count: int, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor([count], device=like.device)
