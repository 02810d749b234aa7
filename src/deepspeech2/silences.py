"""Silence around a clip: put there as in a stream, for a model that never heard any; or taken away from a command."""

import librosa
import numpy as np

FAINTEST_DB = -90.0  # below full scale
QUIET_S = 0.025
QUIET_SHARE = 10.0  # per cent of a clip's moments that are its background
TRIM_DB, LOUD_SHARE = 30.0, 5.0  # below what so many per cent of the moments are louder than: clicks are few
FRAME_S = 0.032
MARGIN_S = 0.15


def draw_silences_s(longest_s: float, rng: np.random.Generator) -> tuple[float, float]:
    """What comes before a clip and after it; nothing is drawn where there is to be none."""
    before_s, after_s = rng.uniform(0.0, longest_s, 2) if longest_s else (0.0, 0.0)
    return float(before_s), float(after_s)


def surround(
    samples: np.ndarray, silences_s: tuple[float, float], sampling_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """
    (N,) float32 with white noise before and after it, of one loudness between -90 dB and that of the clip's own quiet
    moments.
    """
    if silences_s == (0.0, 0.0):
        return samples
    size = min(round(QUIET_S * sampling_rate), len(samples))
    moments = samples[: len(samples) // size * size].reshape(-1, size)
    power = np.percentile(np.square(moments, dtype=np.float64).mean(axis=1), QUIET_SHARE)
    quiet_db = max(10 * np.log10(power + 1e-20), FAINTEST_DB)
    level = 10 ** (rng.uniform(FAINTEST_DB, quiet_db) / 20)
    before, after = (
        (level * rng.standard_normal(round(silence_s * sampling_rate))).astype(np.float32) for silence_s in silences_s
    )
    return np.concatenate([before, samples, after])


def trim(samples: np.ndarray, sampling_rate: int) -> tuple[np.ndarray, float]:
    """
    (N,) without what is 30 dB fainter than its loud moments at both ends, but for 0.15 s; and the seconds before it
    that were cut off.
    """
    if not len(samples):
        return samples, 0.0
    size = round(FRAME_S * sampling_rate)
    _, (start, end) = librosa.effects.trim(
        samples,
        top_db=TRIM_DB,
        ref=lambda levels: np.percentile(levels, 100 - LOUD_SHARE),
        frame_length=size,
        hop_length=size // 4,
    )
    margin = round(MARGIN_S * sampling_rate)
    start = max(int(start) - margin, 0)
    return samples[start : int(end) + margin], start / sampling_rate
