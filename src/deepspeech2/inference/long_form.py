"""
Run a model over a recording of any length, window by window, and join the outputs frame by frame.

torch takes seconds to import, and `OnnxListener` needs none, so only `Listener.run` imports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from ..decoding.decoder import frame_times

# Windows and their seams.
MAX_WINDOW_S = 20.0
MARGIN_S = 1.5  # extra audio on each side of a window, used only as context
STEP_S = 0.01  # resolution of the loudness
QUIET_STEPS = 20  # a seam is the middle of the quietest 0.2 s

# Silence, by its level.
SILENCE_S = 2.0  # longer silences are left out, except for KEPT_S at each end
KEPT_S = 0.5
LOUDNESS_RANGE_DB = 40.0  # the largest distance between the quietest tenth and the loudest twentieth
SILENCE_SHARE = 0.25  # of that distance: audio below this level is silence
LEAST_DB = -70.0  # relative to full scale: audio below it is always silence


@dataclass(frozen=True)
class Window:
    """
    A part of a recording. The model gets all samples, but only its outputs from `seam_start` to `seam_end` are used.
    Positions are samples of the whole recording, and multiples of the model's stride.
    """

    samples: np.ndarray
    start: int
    seam_start: int
    seam_end: int


class Cutter:
    """
    Cuts a stream of samples into windows.

    A seam is in the middle of the quietest 0.2 s of the second half of the longest possible window. The model gets
    `MARGIN_S` more on both sides, so that both windows contain the whole word if a seam cuts one. Each frame is taken
    from the window on its side of the seam. Silence of more than `SILENCE_S` is in no window, because a model that
    normalises its input would find letters in amplified noise.

    Args:
        sampling_rate: sampling rate in Hz.
        stride: samples per output frame of the model. Seams are multiples of it.
        max_window_s: the longest window in seconds, without margins.
    """

    def __init__(self, sampling_rate: int, stride: int, max_window_s: float = MAX_WINDOW_S) -> None:
        self._rate, self._stride = sampling_rate, stride
        self._step = round(STEP_S * sampling_rate)
        self._longest, self._margin = round(max_window_s * sampling_rate), self._on_grid(MARGIN_S * sampling_rate)
        self._floor_db, self._top_db = 0.0, -120.0
        self.length = 0  # samples received
        self.left_out = 0  # samples of them that are in no window

    def __call__(self, blocks: Iterable[np.ndarray]) -> Iterator[Window]:
        """Yield the windows, in order, of consecutive blocks of float32 samples (n,) of any length."""
        kept = np.zeros(0, np.float32)  # the samples from `first` on; those before `position` are done
        first = position = 0
        for block in blocks:
            kept = np.concatenate([kept, block])
            self.length += len(block)
            while self.length - position >= self._longest + self._margin:
                window, position = self._next(kept, first, position, False)
                if window:
                    yield window
                done = max(position - self._margin - first, 0)
                kept, first = kept[done:], first + done
        while position < self.length:
            window, position = self._next(kept, first, position, True)
            if window:
                yield window

    def _next(self, kept: np.ndarray, first: int, position: int, ended: bool) -> tuple[Window | None, int]:
        """Return the window that begins at `position`, or None if silence does, and the next position."""
        levels = self._levels(kept[position - first : position - first + self._longest])
        silent = levels < self._threshold(levels)
        least, edge = round(SILENCE_S / STEP_S), round(KEPT_S / STEP_S)
        loud = np.flatnonzero(~silent)
        remaining, skipped = self.length - position, 0
        if not len(loud):
            last = ended and remaining <= self._longest
            skipped = remaining if last else self._on_grid(self._longest - edge * self._step)
        elif loud[0] >= least:
            skipped = self._on_grid((loud[0] - edge) * self._step)  # a word's first sound may be faint
        if skipped:
            self.left_out += skipped
            return None, position + skipped
        pauses = np.flatnonzero(np.diff(loud, append=len(levels)) > least)
        if len(pauses):
            length = (loud[pauses[0]] + edge) * self._step
        elif ended and remaining <= self._longest:
            length = remaining
        else:
            half = len(levels) // 2
            smooth = np.convolve(levels[half:], np.ones(QUIET_STEPS), "valid")
            length = (half + int(np.argmin(smooth)) + QUIET_STEPS // 2) * self._step
        seam_end = position + length
        if seam_end < self.length:
            seam_end = position + max(self._on_grid(length), self._stride)
        start = max(position - self._margin, 0)
        samples = kept[start - first : min(seam_end + self._margin, self.length) - first]
        return Window(samples, start, position, seam_end), seam_end

    def _on_grid(self, place: float) -> int:
        return int(place // self._stride) * self._stride

    def _levels(self, samples: np.ndarray) -> np.ndarray:
        """Return the power of the 50 ms around each step of 10 ms, (steps,), in dB relative to full scale."""
        steps = np.pad(samples, (0, -len(samples) % self._step)).reshape(-1, self._step)
        power = np.square(steps, dtype=np.float64).mean(axis=1)
        smooth = np.convolve(np.pad(power, 2, mode="edge"), np.ones(5) / 5, "valid")
        return 10 * np.log10(smooth + 1e-12)

    def _threshold(self, levels: np.ndarray) -> float:
        """Return a level between the noise and the speech of everything so far."""
        self._top_db = max(self._top_db, float(np.percentile(levels, 95)))
        self._floor_db = min(self._floor_db, float(np.percentile(levels, 10)))
        floor = max(self._floor_db, self._top_db - LOUDNESS_RANGE_DB)
        return max(floor + SILENCE_SHARE * (self._top_db - floor), LEAST_DB)


PHRASE_S = 15.0
LEAST_S = 0.5  # shorter windows are padded with silence, because unpadded convolutions need some frames


@dataclass
class Listener:
    """
    A model that processes recordings of any length. Its mode and device do not change.

    Args:
        model: a `DeepSpeech2ForCTC` in evaluation mode.
        processor: the processor of the model.
        batch_windows: number of windows, of up to 20 s each, in a batch.
    """

    model: Any
    processor: Any
    batch_windows: int = 4
    duration_s: float = field(default=0.0, init=False)  # of the last recording
    left_out_s: float = field(default=0.0, init=False)  # silence in it that the model did not process

    def __post_init__(self) -> None:
        if self.batch_windows < 1:
            raise ValueError(f"batch_windows is {self.batch_windows}; expected 1 or more")

    @property
    def sampling_rate(self) -> int:
        return self.processor.feature_extractor.sampling_rate

    @property
    def blank(self) -> int:
        return self.model.config.pad_token_id

    @property
    def space(self) -> int:
        return self.processor.space_id

    @property
    def frame_s(self) -> float:
        """Seconds from one output frame to the next."""
        return frame_times(self.model, self.processor)[0]

    @property
    def first_frame_s(self) -> float:
        """The middle of output frame 0, in seconds."""
        return frame_times(self.model, self.processor)[1]

    def span_s(self, start: int, end: int) -> tuple[float, float]:
        """
        Return the times in seconds of the frames from `start` up to, but not including, `end`. A frame lasts half a
        step on both sides of its middle.
        """
        first_s = self.first_frame_s - self.frame_s / 2
        return max(first_s + start * self.frame_s, 0.0), first_s + end * self.frame_s

    def listen(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """
        Run the model over a recording.

        Args:
            blocks: consecutive blocks of float32 samples (n,), at the model's rate.

        Yields:
            For each window the index of its first frame in the recording and the float32 log-probabilities (frames, V),
            in order and without overlap. Frames between windows belong to long silences and count as blank.
        """
        stride = self.model.config.inputs_to_logits_ratio
        cutter = Cutter(self.sampling_rate, stride)
        windows = cutter(blocks)
        while batch := list(islice(windows, self.batch_windows)):
            for window, log_probs in zip(batch, self._log_probs(batch), strict=True):
                skipped = (window.seam_start - window.start) // stride
                count = -(-(window.seam_end - window.seam_start) // stride)
                yield window.seam_start // stride, log_probs[skipped : skipped + count]
        self.duration_s = cutter.length / self.sampling_rate
        self.left_out_s = cutter.left_out / self.sampling_rate

    def phrases(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """
        Yield the outputs of `listen` in stretches of 15 s or more from pause to pause, so that no word is in two of
        them. Speech without a pause makes a longer stretch. An hour of 40 ms frames and 29 symbols takes 10 MB.
        """
        first, kept = 0, np.zeros((0, self.model.config.vocab_size), np.float32)
        for start, log_probs in self.listen(blocks):
            if start > first + len(kept):  # after a silence that was left out
                yield first, kept
                first, kept = start, log_probs
            else:
                kept = np.concatenate([kept, log_probs])
            if len(kept) * self.frame_s >= PHRASE_S and (cut := self._longest_pause(kept)):
                yield first, kept[:cut]
                first, kept = first + cut, kept[cut:]
        yield first, kept

    def _longest_pause(self, log_probs: np.ndarray) -> int:
        """
        Return the frame after the space in the longest stretch of blanks and spaces, or 0 if there is none. Blanks
        alone are no evidence of a pause: a model may write a word's first letter long before the rest.
        """
        ids = log_probs.argmax(-1)
        edges = np.flatnonzero(np.diff(np.isin(ids, [self.blank, self.space]), prepend=False, append=False))
        pauses = [
            (end - start, start + 1 + int(np.argmax(ids[start:end] == self.space)))
            for start, end in zip(edges[::2], edges[1::2], strict=True)
            if self.space in ids[start:end]
        ]
        return int(max(pauses, default=(0, 0))[1])

    def whole(self, blocks: Iterable[np.ndarray]) -> np.ndarray:
        """
        Return the float32 log-probabilities (T, V) of all frames of a recording. Silences that were left out are blank.
        An hour of 40 ms frames and 29 symbols takes 10 MB.
        """
        pieces: list[np.ndarray] = []
        place = 0
        for first, log_probs in self.listen(blocks):
            pieces += [self._blanks(first - place), log_probs]
            place = first + len(log_probs)
        missing = round(self.duration_s / self.frame_s) - place
        return np.concatenate([*pieces, self._blanks(max(missing, 0))])

    def _blanks(self, count: int) -> np.ndarray:
        """Return (count, V) near-certain blanks. The other symbols stay possible, so a text can still be aligned."""
        rows = np.full((count, self.model.config.vocab_size), -20.0, np.float32)
        rows[:, self.blank] = 0.0
        return rows

    def _log_probs(self, windows: list[Window]) -> list[np.ndarray]:
        least = round(LEAST_S * self.sampling_rate)
        return self.run([np.pad(window.samples, (0, max(least - len(window.samples), 0))) for window in windows])

    def run(self, clips: list[np.ndarray]) -> list[np.ndarray]:
        """Return the float32 log-probabilities (frames, V) of each clip of float32 samples (n,)."""
        import torch

        inputs = self.processor(clips, sampling_rate=self.sampling_rate, return_tensors="pt").to(self.model.device)
        with torch.inference_mode():
            outputs = self.model(inputs["input_features"], inputs["attention_mask"])
            log_probs = outputs.logits.detach().float().log_softmax(-1).cpu().numpy()
        return [one[:length] for one, length in zip(log_probs, outputs.output_lengths.tolist(), strict=True)]
