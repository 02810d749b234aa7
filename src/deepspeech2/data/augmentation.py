"""Augmentation of training speech on the fly: speed, room, noise, gain, vocal tract, SpecAugment, silence.

Every function depends only on (input, rng), so that a resumed run continues exactly like an uninterrupted one:

>>> rng = np.random.default_rng([seed, epoch, index])
>>> samples = augmentation.waveform(samples, rng, augmentation.speed_factor(rng))
>>> input_features = augmentation.features(input_features, rng)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr

from .audio.recordings import AudioError
from .noise_files import open_noise_files, read_noise

if TYPE_CHECKING:
    from ..config.arguments import AugmentationArguments

logger = logging.getLogger(__name__)

NOISE_PERIOD_S = 4
RT60_RANGE_S = (0.1, 0.6)
WARPED_BELOW_HZ = 4800.0
LOW_CUT_HZ, HIGH_CUT_HZ = (40.0, 400.0), (3000.0, 7800.0)

# The loudness of the silence before and after a clip.
FAINTEST_DB = -90.0  # below full scale
QUIET_S = 0.025
QUIET_SHARE = 10.0  # per cent of a clip's moments that count as background

# Trimming of the ends. The loudness of a clip is that which LOUD_SHARE per cent of its moments exceed: clicks are
# fewer.
TRIM_DB, LOUD_SHARE = 30.0, 5.0
FAINTEST_LEVEL = 1e-5  # a clip of nothing but silence stays whole
FRAME_S = 0.032
MARGIN_S = 0.15


class Augmentation:
    """
    The augmentation that `args` asks for. Each part is off at 0.

    Args:
        args: the settings.
        sampling_rate: of the audio, in Hz.
        bin_frequencies_hz: the rising centre frequencies of the feature bins. Only vocal tract perturbation needs them.

    Raises:
        ValueError: an argument is out of range, or the noise folder holds no audio that can be read. Files that cannot
            be read are named in a warning and left out.
    """

    def __init__(
        self, args: AugmentationArguments, sampling_rate: int, bin_frequencies_hz: np.ndarray | None = None
    ) -> None:
        from ..config.validation import augmentation_faults  # transformers' arguments, which no inference needs

        if faults := augmentation_faults(args):
            raise ValueError("; ".join(faults))
        self.args = args
        if args.vocal_tract_perturbation and bin_frequencies_hz is None:
            raise ValueError("vocal_tract_perturbation needs the frequencies of the feature bins")
        self.sampling_rate = sampling_rate
        self.bin_frequencies_hz = bin_frequencies_hz
        self.noise_files = open_noise_files(Path(args.noise_folder)) if args.noise_folder else []
        self._damaged: set[Path] = set()

    def speed_factor(self, rng: np.random.Generator) -> float:
        """Draw the speed of a clip. A clip of duration d lasts d / factor afterwards."""
        change = self.args.speed_perturbation
        return float(rng.uniform(1 - change, 1 + change)) if change else 1.0

    def waveform(self, samples: np.ndarray, rng: np.random.Generator, speed: float = 1.0) -> np.ndarray:
        """
        Apply speed, room, noise, microphone and gain in this order: float32 (N,) in ±1 -> float32 (about N / speed,)
        in ±1.
        """
        args = self.args
        if samples.size == 0:
            return samples
        if speed != 1.0:
            samples = change_speed(samples, speed, self.sampling_rate)
            if samples.size == 0:
                return samples
        if args.reverberation_probability and rng.random() < args.reverberation_probability:
            samples = reverberate(samples, room_impulse_response(rng, self.sampling_rate))
        if args.noise_probability and rng.random() < args.noise_probability:
            snr_db = float(rng.uniform(args.noise_snr_db_min, args.noise_snr_db_max))
            samples = add_noise(samples, self._noise(samples.size, rng), snr_db)
        if args.band_limit_probability and rng.random() < args.band_limit_probability:
            samples = limit_band(samples, draw_band_hz(rng), self.sampling_rate)
        if args.gain_db:
            samples = samples * np.float32(10 ** (rng.uniform(-args.gain_db, args.gain_db) / 20))
        return limit_peak(samples)

    def features(self, input_features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Perturb the vocal tract, then apply SpecAugment (Park et al. 2019, arXiv:1904.08779, without time warping).

        (frames, bins) -> a copy. Masks are 0, the mean of normalised features. The width of a mask is drawn uniformly
        from 0 to its maximum.
        """
        args = self.args
        if args.vocal_tract_perturbation and self.bin_frequencies_hz is not None:
            factor = float(rng.uniform(1 - args.vocal_tract_perturbation, 1 + args.vocal_tract_perturbation))
            input_features = warp_frequencies(input_features, factor, self.bin_frequencies_hz)
        if not args.spec_augment:
            return input_features
        masked = input_features.copy()
        num_frames, num_bins = masked.shape
        widest = min(args.time_mask_max_frames, int(args.time_mask_max_ratio * num_frames))
        for _ in range(args.num_time_masks):
            start, stop = _mask_span(rng, num_frames, widest)
            masked[start:stop] = 0.0
        for _ in range(args.num_frequency_masks):
            start, stop = _mask_span(rng, num_bins, min(args.frequency_mask_max_bins, num_bins))
            masked[:, start:stop] = 0.0
        return masked

    def _noise(self, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        if not self.noise_files:
            return generate_noise(rng, num_samples, self.sampling_rate)
        path = self.noise_files[int(rng.integers(len(self.noise_files)))]
        try:
            return read_noise(path, num_samples, self.sampling_rate, rng)
        except AudioError as error:  # damage behind its start
            if path not in self._damaged:
                logger.warning("noise file left out from now on, with generated noise in its place: %s", error)
                self._damaged.add(path)
            return generate_noise(rng, num_samples, self.sampling_rate)


def _mask_span(rng: np.random.Generator, size: int, widest: int) -> tuple[int, int]:
    width = int(rng.integers(widest + 1))
    start = int(rng.integers(size - width + 1))
    return start, start + width


def warp_frequencies(input_features: np.ndarray, factor: float, bin_frequencies_hz: np.ndarray) -> np.ndarray:
    """Move the energy at f Hz to f * factor, like a vocal tract `factor` times as short: (frames, bins) -> same shape.

    Vocal tract length perturbation (Jaitly and Hinton 2013): linear up to about 4.8 kHz, and above it such that the
    highest frequency stays fixed.
    """
    highest = float(bin_frequencies_hz[-1])
    # At most three quarters, so that features of narrow-band audio have room for the way back.
    knee = min(WARPED_BELOW_HZ, 0.75 * highest) * min(factor, 1.0)
    source_hz = np.interp(bin_frequencies_hz, [0.0, knee, highest], [0.0, knee / factor, highest])
    position = np.interp(source_hz, bin_frequencies_hz, np.arange(bin_frequencies_hz.size))
    below = np.minimum(position.astype(np.int64), bin_frequencies_hz.size - 2)
    share = (position - below).astype(np.float32)
    return input_features[:, below] * (1 - share) + input_features[:, below + 1] * share


def change_speed(samples: np.ndarray, speed: float, sampling_rate: int) -> np.ndarray:
    """Play `samples` `speed` times as fast. The pitch changes with the speed (Ko et al. 2015)."""
    return soxr.resample(samples, sampling_rate * speed, sampling_rate, quality="MQ")


def limit_peak(samples: np.ndarray) -> np.ndarray:
    """Scale the whole clip down if its peak exceeds ±1, so that no sample is clipped."""
    peak = max(float(samples.max()), -float(samples.min()))
    return samples if peak <= 1.0 else samples * np.float32(0.999 / peak)


def _level(samples: np.ndarray) -> float:
    """Return the root mean square of `samples`, which must not be empty."""
    return float(np.sqrt(np.dot(samples, samples) / samples.size))


def add_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Mix in `noise` (same length) so that the RMS of the clip is `snr_db` above the noise's.

    With a silent clip or silent noise there is no such ratio, and the clip is returned unchanged.
    """
    speech_level, noise_level = _level(samples), _level(noise)
    if speech_level == 0 or noise_level == 0:
        return samples
    return samples + noise * np.float32(speech_level / noise_level * 10 ** (-snr_db / 20))


def reverberate(samples: np.ndarray, impulse_response: np.ndarray) -> np.ndarray:
    """Convolve by FFT. The length (the last echo is cut) and the RMS stay the same."""
    size = samples.size + impulse_response.size - 1
    fast = 1 << max(size.bit_length() - 3, 0)  # a power of two times 4 to 8, whose transform is fast
    size = -(-size // fast) * fast
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(impulse_response, size)
    wet = np.fft.irfft(spectrum, size)[: samples.size]
    wet_level = _level(wet)
    return wet * np.float32(_level(samples) / wet_level) if wet_level else samples


def draw_band_hz(rng: np.random.Generator) -> tuple[float, float]:
    """Draw the lowest and the highest frequency that a microphone and its way to the computer leave."""
    low_hz, high_hz = (float(low * (high / low) ** rng.random()) for low, high in (LOW_CUT_HZ, HIGH_CUT_HZ))
    return low_hz, high_hz


def limit_band(samples: np.ndarray, band_hz: tuple[float, float], sampling_rate: int) -> np.ndarray:
    """Weaken what is outside a band, with the slopes of a Butterworth filter of second order at both ends."""
    low_hz, high_hz = band_hz
    size = 1 << max(samples.size - 1, 1).bit_length()
    frequency_hz = np.fft.rfftfreq(size, 1 / sampling_rate)
    gain = 1 / np.sqrt((1 + (low_hz / np.maximum(frequency_hz, 1.0)) ** 4) * (1 + (frequency_hz / high_hz) ** 4))
    return np.fft.irfft(np.fft.rfft(samples, size) * gain, size)[: samples.size].astype(np.float32)


def room_impulse_response(
    rng: np.random.Generator,
    sampling_rate: int,
    rt60_s: float | None = None,
    direct_to_reverberant_db: float | None = None,
) -> np.ndarray:
    """Return the impulse response of a random room, float32 (rt60 * rate,).

    It has a direct path at sample 0, early reflections, and an exponential tail. The tail loses 60 dB in `rt60_s`
    (drawn from 0.1 to 0.6 s if not given), its high frequencies faster than its low ones. The direct path is
    `direct_to_reverberant_db` above the rest (drawn from 0 to 12 dB if not given).
    """
    rt60_s = float(rng.uniform(*RT60_RANGE_S)) if rt60_s is None else rt60_s
    ratio_db = float(rng.uniform(0, 12)) if direct_to_reverberant_db is None else direct_to_reverberant_db
    num_samples = max(int(rt60_s * sampling_rate), 2)
    time_s = np.arange(num_samples, dtype=np.float32) / sampling_rate
    decay = np.float32(np.log(1000) / rt60_s)
    tail = rng.standard_normal(num_samples, dtype=np.float32)
    dull = np.convolve(tail, np.full(4, 0.5, np.float32))[:num_samples]
    tail = tail * np.exp(-1.6 * decay * time_s) + dull * np.exp(-decay * time_s)
    tail[: int(0.004 * sampling_rate)] = 0  # diffuse sound comes after the first reflections
    latest = min(int(0.05 * sampling_rate), num_samples)
    arrivals = rng.integers(1, max(latest, 2), size=int(rng.integers(4, 11)))
    strengths = rng.choice([-1, 1], arrivals.size) * rng.uniform(1, 6, arrivals.size)
    np.add.at(tail, arrivals, strengths.astype(np.float32) * np.exp(-decay * time_s[arrivals]))
    tail[0] = 0
    response = tail * np.float32(10 ** (-ratio_db / 20) / np.sqrt(np.dot(tail, tail)))
    response[0] = 1
    return response


def generate_noise(
    rng: np.random.Generator, num_samples: int, sampling_rate: int, kind: str | None = None
) -> np.ndarray:
    """Return noise of about unit RMS, float32 (num_samples,), which repeats every 4 s.

    `kind` is one of NOISE_KINDS, drawn at random if not given. Raises ValueError for any other kind.
    """
    kind = NOISE_KINDS[int(rng.integers(len(NOISE_KINDS)))] if kind is None else kind
    period = max(min(num_samples, NOISE_PERIOD_S * sampling_rate), 2)
    if kind == "mixture":
        first, second = rng.permutation(len(NOISE_MAKERS))[:2]
        parts = [NOISE_KINDS[first], NOISE_KINDS[second]]
    elif kind in NOISE_MAKERS:
        parts = [kind]
    else:
        raise ValueError(f"unknown kind of noise {kind!r}; expected one of {', '.join(NOISE_KINDS)}")
    noise = np.zeros(period, np.float32)
    for part in parts:
        layer = NOISE_MAKERS[part](rng, period, sampling_rate)
        noise += layer * np.float32(rng.uniform(0.3, 1) / _level(layer))
    return np.resize(noise / np.float32(_level(noise)), num_samples)


def _white(rng: np.random.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    return rng.standard_normal(num_samples, dtype=np.float32)


def _pink(rng: np.random.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Pink noise: the power falls with 1 / frequency."""
    return _shape(_white(rng, num_samples, sampling_rate), lambda bins: 1 / np.sqrt(bins))


def _brown(rng: np.random.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Brown noise: the power falls with 1 / frequency squared above 1/256 of the band; else drift would dominate."""
    return _shape(_white(rng, num_samples, sampling_rate), lambda bins: 1 / np.maximum(bins, bins[-1] / 256))


def _hum(rng: np.random.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Mains hum of 50 or 60 Hz, or a fan of up to 400 Hz, with harmonics, over a little pink noise."""
    frequency_hz = float(rng.choice([50, 60, round(rng.uniform(80, 400))]))
    base = np.exp(2j * np.pi * frequency_hz / sampling_rate * np.arange(num_samples)).astype(np.complex64)
    layer = _pink(rng, num_samples, sampling_rate)
    hum = layer * np.float32(0.3 / _level(layer))
    rotation = np.ones_like(base)
    for harmonic in range(1, 1 + min(7, int(sampling_rate / 2 / frequency_hz))):
        rotation *= base
        start = np.exp(2j * np.pi * rng.random()) * rng.uniform(0.2, 1) / harmonic
        hum += (rotation * np.complex64(start)).real
    return hum


def _babble(rng: np.random.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Babble of distant voices: gliding buzzes and breath in syllables of about 4 Hz, with the spectrum of speech.

    The spectrum follows Byrne et al. 1994: flat up to about 500 Hz, then about 9 dB less for each octave, of which 6 dB
    come from the sawtooth itself.
    """
    time_s = np.arange(num_samples) / sampling_rate
    knots_s = np.arange(0, num_samples / sampling_rate + 0.25, 0.125)
    babble = np.zeros(num_samples, np.float32)
    for _ in range(int(rng.integers(3, 7))):
        pitch_hz = rng.uniform(90, 240) * rng.uniform(0.8, 1.2, knots_s.size)
        phase = np.cumsum(np.interp(time_s, knots_s, pitch_hz)) / sampling_rate
        buzz = (2 * (phase % 1) - 1).astype(np.float32) + 0.3 * _white(rng, num_samples, sampling_rate)
        babble += buzz * np.interp(time_s, knots_s, rng.random(knots_s.size) ** 2).astype(np.float32)

    def colour(bins: np.ndarray) -> np.ndarray:
        frequency_hz = bins * np.float32(sampling_rate / 2 / bins[-1])
        return np.minimum(frequency_hz / 100, 1) / np.sqrt(1 + (frequency_hz / 600) ** 2)

    return _shape(babble, colour)


NOISE_MAKERS = {"white": _white, "pink": _pink, "brown": _brown, "hum": _hum, "babble": _babble}
NOISE_KINDS = (*NOISE_MAKERS, "mixture")


def _shape(noise: np.ndarray, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Filter circularly by `gain`, a function of the bin numbers 1, 2, ..., and remove 0 Hz."""
    spectrum = np.fft.rfft(noise)
    spectrum[0] = 0
    spectrum[1:] *= gain(np.arange(1, spectrum.size, dtype=np.float32))
    return np.fft.irfft(spectrum, noise.size)


def draw_silences_s(longest_s: float, rng: np.random.Generator) -> tuple[float, float]:
    """Draw the seconds of silence before and after a clip. With `longest_s` 0, nothing is drawn from `rng`."""
    before_s, after_s = rng.uniform(0.0, longest_s, 2) if longest_s else (0.0, 0.0)
    return float(before_s), float(after_s)


def surround(
    samples: np.ndarray, silences_s: tuple[float, float], sampling_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """
    Return (N,) float32 with white noise before and after it. The loudness of the noise is drawn between -90 dB and that
    of the quiet moments of the clip.
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
    Cut both ends of (N,) that are 30 dB below its loud moments, except for 0.15 s.

    Returns:
        The trimmed samples, and the seconds cut off before them.
    """
    if not len(samples):
        return samples, 0.0
    size = round(FRAME_S * sampling_rate)
    hop = size // 4
    moments = np.lib.stride_tricks.sliding_window_view(np.pad(samples, size // 2), size)[::hop]
    levels = np.maximum(np.sqrt(np.einsum("ij,ij->i", moments, moments) / size), FAINTEST_LEVEL)
    loud = np.flatnonzero(levels > np.percentile(levels, 100 - LOUD_SHARE) * 10 ** (-TRIM_DB / 20))
    margin = round(MARGIN_S * sampling_rate)
    start = max(int(loud[0]) * hop - margin, 0)
    return samples[start : (int(loud[-1]) + 1) * hop + margin], start / sampling_rate
