"""Live speech: run a unidirectional model over chunks of audio, and split its output into utterances.

>>> stream, endpointer = Stream(model, processor), Endpointer(blank=0, space=4, frame_s=0.02)
>>> for samples in microphone:
...     for segment in endpointer.push(stream.push(samples).numpy()):
...         print(segment.spoken_s)
"""

import copy
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..model.modeling_deepspeech2 import DeepSpeech2ForCTC
from ..model.processing_deepspeech2 import DeepSpeech2Processor

# The least rows of a matrix product. Small matrices are multiplied in another order, which changes results by 1e-5.
ROWS = 16


class Stream:
    """
    Runs a unidirectional model over chunks of samples and returns log-probabilities as soon as they are final.

    The results are those of the whole recording, for any size of chunks. The stream uses the model's own modules. For
    each module it keeps only the input that the module still needs, and the recurrent states. So memory does not grow
    with time.

    Args:
        model: a unidirectional model in evaluation mode. Its mode, device and weights do not change.
        processor: the model's processor, with fixed normalisation.

    Raises:
        ValueError: the model or the processor needs the whole clip, or the model is in training mode.
    """

    def __init__(self, model: DeepSpeech2ForCTC, processor: DeepSpeech2Processor) -> None:
        extractor, config = processor.feature_extractor, model.config
        train = "train a streaming model with recipes/commands/streaming.yaml"
        faults = []
        if config.bidirectional:
            faults.append(f"the model is bidirectional, so it needs the whole clip: {train}")
        if extractor.normalization != "fixed":
            faults.append(
                f"the processor's normalization is {extractor.normalization!r}, which needs the whole clip; expected "
                f"'fixed': {train}"
            )
        if model.training:
            faults.append("the model is in training mode: call model.eval()")
        if faults:
            raise ValueError("the model cannot stream: " + "; ".join(faults))
        self.model, self.sampling_rate = model, extractor.sampling_rate
        self._extractor, self._make_frames = extractor, extractor.framer()
        self._convs = copy.deepcopy(model.model.convs)
        for layer in self._convs:  # the windows add the padding over time themselves
            layer.conv.padding = (layer.conv.padding[0], 0)
        self.reset()

    def reset(self) -> None:
        """Start again: the next sample is the first of another recording."""
        extractor, config = self._extractor, self.model.config
        self._margin = extractor.n_fft // 2
        self._first: np.ndarray | None = np.zeros(0, np.float32)  # until there are enough samples to pad the start
        self._last = np.zeros(0, np.float32)  # the samples that pad the end
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
        """Seconds from the middle of an output frame to the last sample that it and the next frame need."""
        config, samples, stride = self.model.config, self._margin, self._extractor.hop_length
        for kernel, step in zip(config.conv_kernel_sizes, config.conv_strides, strict=True):
            samples += stride * ((kernel[1] - 1) / 2)
            stride *= step[1]
        return (samples + stride * config.lookahead_context) / self.sampling_rate

    def push(self, samples: np.ndarray) -> torch.Tensor:
        """
        Process the next samples.

        Args:
            samples: (n,) floats in [-1, 1] at the model's rate. n may be 0.

        Returns:
            Log-probabilities (t, V) float32, on the CPU, of the frames that are now final. t is often 0.

        Raises:
            ValueError: the samples have another shape, are integers, or are not finite.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
            raise ValueError(
                f"samples have shape {samples.shape} and type {samples.dtype}; expected floats (n,) in [-1, 1]: "
                "average the channels, and divide 16-bit audio by 32768"
            )
        if not np.isfinite(samples).all():
            raise ValueError("samples have NaN or infinite values; expected finite ones in [-1, 1]")
        samples = samples.astype(np.float32, copy=False)
        self._last = np.concatenate([self._last, samples])[-self._margin - 1 :]
        if self._first is not None:
            self._first = np.concatenate([self._first, samples])
            if len(self._first) <= self._margin:
                return self._advance(None)
            samples, self._first = self._extended(self._first, (self._margin, 0)), None
        return self._advance(torch.from_numpy(samples))

    def finish(self) -> torch.Tensor:
        """Return the remaining log-probabilities, (t, V), at the end of a recording, and start again."""
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
        """Run the steps of `DeepSpeech2Model.forward`, each as far as its input allows."""
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
        # A single frame would be multiplied in another order than in the whole recording, and costs as much as two.
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
    Sliding windows over the last axis of a sequence that arrives in pieces. It keeps what later windows still need.

    Args:
        size, step: size and step of the windows.
        padding: number of zeros at both ends.
        after: number of zeros at the end, if it differs from `padding`.
        least: the fewest windows that `take` returns before the end.
    """

    def __init__(self, size: int, step: int, padding: int = 0, after: int | None = None, least: int = 1) -> None:
        self.size, self.step = size, step
        self.before, self.after = padding, padding if after is None else after
        self.least = least
        self.count = 0  # windows in the last result
        self._kept: torch.Tensor | None = None

    def take(self, piece: torch.Tensor | None, ended: bool) -> torch.Tensor | None:
        """Add a piece (..., n), or None, and return (..., m) with all windows that are now full, or None."""
        if self._kept is None and piece is not None:
            self._kept = piece.new_zeros(*piece.shape[:-1], self.before)
        if self._kept is None:
            return None
        pieces = [self._kept] if piece is None else [self._kept, piece]
        if ended:
            pieces.append(self._kept.new_zeros(*self._kept.shape[:-1], self.after))
        kept = torch.cat(pieces, -1)
        # Before the end, a window is only taken when everything up to the next window has arrived too.
        needed = self.size if ended else max(self.size, self.step)
        self.count = max((kept.shape[-1] - needed) // self.step + 1, 0)
        if self.count < self.least and not ended:
            self.count = 0
        self._kept = kept[..., self.count * self.step :].clone()
        return kept[..., : (self.count - 1) * self.step + self.size] if self.count else None


def _length(count: int, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor([count], device=like.device)


@dataclass(frozen=True)
class SpeechSegment:
    """
    An utterance in a stream. Times are seconds since the start of the stream.

    Args:
        start_s, end_s: start and end of `log_probs`.
        spoken_s: the start of the first symbol's frame and the end of the last symbol's frame.
        log_probs: (t, V), with the silence around the utterance.
    """

    start_s: float
    end_s: float
    spoken_s: tuple[float, float]
    log_probs: np.ndarray


# Loud sound during blank frames: somebody may still be speaking.
FLOOR_S = 10.0  # the noise level is that of the quietest frame in this time
LEAST_DB = -60.0  # relative to full scale: the lowest noise level, for files with digital silence
LOUD_DB = 12.0  # louder than the noise by so much is loud
LOUD_COUNTS = 0.5  # how much a loud blank frame counts, relative to a quiet one


class Endpointer:
    """
    Splits a stream into utterances. An utterance begins with a symbol that is neither blank nor space, and ends with
    `silence_s` of blanks and spaces.

    Args:
        blank, space: ids of the blank and the space.
        frame_s: seconds from one frame to the next.
        first_frame_s: the middle of frame 0, in seconds.
        silence_s: seconds of blanks and spaces that end an utterance.
        longest_s: longest utterance in seconds. A longer one is cut at the longest pause in its second half.
        lead_s: seconds kept before the first symbol.

    Raises:
        ValueError: `silence_s` is shorter than a frame, or `longest_s` is too short for the others.
    """

    def __init__(
        self,
        blank: int,
        space: int,
        frame_s: float,
        first_frame_s: float = 0.0,
        *,
        silence_s: float = 0.5,
        longest_s: float = 15.0,
        lead_s: float = 0.4,
    ) -> None:
        if silence_s < frame_s or lead_s < 0 or longest_s < 2 * (silence_s + lead_s):
            raise ValueError(
                f"silence_s is {silence_s}, lead_s is {lead_s}, longest_s is {longest_s}; expected silence_s of at "
                f"least one frame ({frame_s} s), lead_s of at least 0, and longest_s of at least twice their sum"
            )
        self.quiet_ids, self.frame_s, self.first_s = (blank, space), frame_s, first_frame_s - frame_s / 2
        self.silence, self.lead = silence_s / frame_s, round(lead_s / frame_s)
        self.longest = round(longest_s / frame_s)
        self.reset()

    def reset(self) -> None:
        """Start again: the next frame is frame 0."""
        self._rows: list[np.ndarray] = []  # log-probabilities of the utterance, or of the lead before it
        self._spoken: list[bool] = []
        self._start = 0  # frame of the first row
        self._run = 0.0  # quiet frames since the last symbol
        self._floor: deque[float] = deque(maxlen=round(FLOOR_S / self.frame_s))

    def push(self, log_probs: np.ndarray, levels_db: np.ndarray | None = None) -> Iterator[SpeechSegment]:
        """
        Process the next frames.

        Args:
            log_probs: (t, V) of the next frames.
            levels_db: (t,) loudness of each frame. If given, a blank frame that is 12 dB louder than the noise counts
                half, because somebody may still be speaking. The noise level is the quietest frame of the last 10 s.

        Yields:
            The utterances that end in these frames.
        """
        for place, row in enumerate(log_probs):
            loud = levels_db is not None and self._is_loud(float(levels_db[place]))
            spoken = int(row.argmax()) not in self.quiet_ids
            self._rows.append(row)
            self._spoken.append(spoken)
            self._run = 0.0 if spoken else self._run + (LOUD_COUNTS if loud else 1.0)
            if not any(self._spoken):
                self._drop(len(self._rows) - self.lead)
            elif self._run >= self.silence - 1e-6:
                yield self._end(len(self._rows))
            elif len(self._rows) >= self.longest:
                yield self._end(self._longest_pause())

    def finish(self) -> Iterator[SpeechSegment]:
        """Yield the last utterance, if one has begun, and start again."""
        if any(self._spoken):
            yield self._end(len(self._rows))
        self.reset()

    def _is_loud(self, level_db: float) -> bool:
        self._floor.append(level_db)
        return level_db > max(min(self._floor), LEAST_DB) + LOUD_DB

    def _end(self, count: int) -> SpeechSegment:
        symbols = np.flatnonzero(self._spoken[:count])
        log_probs = np.stack(self._rows[:count])
        spoken_s = (self._time_s(int(symbols[0])), self._time_s(int(symbols[-1]) + 1))
        found = SpeechSegment(self._time_s(0), self._time_s(count), spoken_s, log_probs)
        self._drop(count)
        if not any(self._spoken):
            self._drop(len(self._rows) - self.lead)
        return found

    def _longest_pause(self) -> int:
        """Return the middle of the longest pause in the second half, or the number of frames if there is none."""
        half = len(self._spoken) // 2
        best, start = (0, len(self._spoken)), half
        for place in range(half, len(self._spoken) + 1):
            if place == len(self._spoken) or self._spoken[place]:
                best = max(best, (place - start, (start + place + 1) // 2)) if place > start else best
                start = place + 1
        return best[1]

    def _drop(self, count: int) -> None:
        if count > 0:
            self._rows, self._spoken = self._rows[count:], self._spoken[count:]
            self._start += count

    def _time_s(self, row: int) -> float:
        return max(self.first_s + (self._start + row) * self.frame_s, 0.0)
