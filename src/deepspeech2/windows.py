"""Long recordings as windows short enough for the model, cut where it is quietest, long silences left out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

MAX_WINDOW_S = 20.0
MARGIN_S = 1.5  # heard on either side of a window, as context alone
SILENCE_S = 2.0  # from here on a silence is left out, but for KEPT_S at its ends
KEPT_S = 0.5
STEP_S = 0.01
QUIET_STEPS = 20  # a seam is the middle of the quietest 0.2 s
LOUDNESS_RANGE_DB = 40.0
SILENCE_SHARE = 0.25  # of the way from the quietest tenth to the loudest twentieth, at most LOUDNESS_RANGE_DB apart
LEAST_DB = -70.0  # below full scale: fainter is silence whatever the rest is


@dataclass(frozen=True)
class Window:
    """
    A part of a recording. The model hears all its samples; what it says of those from `seam_start` to `seam_end`
    counts. Places are samples of the whole recording, multiples of the model's stride.
    """

    samples: np.ndarray
    start: int
    seam_start: int
    seam_end: int


class Cutter:
    """
    Cuts a stream of samples into windows. Seams lie in the middle of the quietest 0.2 s of the second half of what a
    window may hold; on both sides the model hears `MARGIN_S` more, so that a word at a seam, where there was no
    pause, is heard whole from both, and frame by frame each side counts up to the seam. Silence of more than
    `SILENCE_S` is in no window: a model that normalises its input would find letters in amplified noise.

    Args:
        sampling_rate: Hz.
        stride: samples of one output frame of the model; seams are multiples of it.
    """

    def __init__(self, sampling_rate: int, stride: int, max_window_s: float = MAX_WINDOW_S) -> None:
        self._rate, self._stride = sampling_rate, stride
        self._step = round(STEP_S * sampling_rate)
        self._longest, self._margin = round(max_window_s * sampling_rate), self._on_grid(MARGIN_S * sampling_rate)
        self._floor_db, self._top_db = 0.0, -120.0
        self.length = 0  # samples that have come
        self.left_out = 0  # samples of them in no window

    def __call__(self, blocks: Iterable[np.ndarray]) -> Iterator[Window]:
        """float32 (samples,) one after another, of any sizes -> windows, in order."""
        kept, first, position = (
            np.zeros(0, np.float32),
            0,
            0,
        )  # samples from `first` on; those before `position` are done
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
        """The window that begins at `position`, or None where silence begins; and where to go on."""
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
        """(steps of 10 ms,) power of 50 ms around each, in dB below full scale."""
        steps = np.pad(samples, (0, -len(samples) % self._step)).reshape(-1, self._step)
        power = np.square(steps, dtype=np.float64).mean(axis=1)
        smooth = np.convolve(np.pad(power, 2, mode="edge"), np.ones(5) / 5, "valid")
        return 10 * np.log10(smooth + 1e-12)

    def _threshold(self, levels: np.ndarray) -> float:
        """Between the noise and the speech of all that was heard so far."""
        self._top_db = max(self._top_db, float(np.percentile(levels, 95)))
        self._floor_db = min(self._floor_db, float(np.percentile(levels, 10)))
        floor = max(self._floor_db, self._top_db - LOUDNESS_RANGE_DB)
        return max(floor + SILENCE_SHARE * (self._top_db - floor), LEAST_DB)
