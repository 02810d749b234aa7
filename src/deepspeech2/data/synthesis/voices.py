"""Many speakers from one small text-to-speech voice, hibari-tts (code and voice Apache-2.0).

For each frame of 12.5 ms, its network predicts spectral envelopes and a fundamental frequency. Other speakers come from
stretching the envelopes and scaling the frequency before the waveform is computed:

>>> samples = speak("turn on the kitchen light", Voice(pitch=0.6, formant=0.86))
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

SAMPLING_RATE = 16000
CREDIT = (
    "[hibari-tts](https://pypi.org/project/hibari-tts/), whose single voice (code and voice Apache-2.0) is warped into "
    "many speakers"
)

# The network's frames are 12.5 ms. Its spectra have bins of 20 Hz up to 12 kHz. The bins up to 8 kHz are kept, so that
# the inverse transform gives 16 kHz without resampling.
_HOP = SAMPLING_RATE // 80
_N_FFT = 4 * _HOP
_BINS = _N_FFT // 2 + 1
_WINDOW = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_N_FFT) / _N_FFT)).astype(np.float32)
_VOICED_HZ = 40.0
_HIGHEST_HARMONIC_HZ = 7600.0


@dataclass(frozen=True)
class Voice:
    """The differences of a speaker from the built-in voice, a woman of about 215 Hz. 1 and 0 mean no difference.

    Attributes:
        pitch: factor on the fundamental frequency; natural from 0.5 to 1.2.
        formant: factor on the resonances, the inverse of the vocal tract's length; natural from 0.82 to 1.08.
        rate: factor on the speaking rate; 0.5 to 2.
        intonation: exponent on the pitch contour about its mean; 0 is monotonous.
        breath_db: gain of the noise in the voice.
        tilt_db: gain an octave above 500 Hz; negative is dull.
    """

    pitch: float = 1.0
    formant: float = 1.0
    rate: float = 1.0
    intonation: float = 1.0
    breath_db: float = 0.0
    tilt_db: float = 0.0

    def speak(self, text: str, rng: np.random.Generator) -> np.ndarray:
        """Synthesise text with this voice, by the function `speak`."""
        return speak(text, self, rng)


def spread_voices(count: int, seed: int = 0) -> list[Voice]:
    """Return `count` distinct voices that cover the natural range evenly, with men and women balanced.

    A low-discrepancy sequence (additive recurrence on the roots of x^(d+1) = x + 1) from a random start.
    """
    dimensions = 6
    root = 1.5
    for _ in range(60):
        root = (1 + root) ** (1 / (dimensions + 1))
    steps = root ** -np.arange(1.0, dimensions + 1)
    start = np.random.default_rng([seed, 20]).random(dimensions)
    voices = []
    for index in range(1, count + 1):
        u = (start + index * steps) % 1
        voices.append(
            Voice(
                pitch=float(0.5 * (1.2 / 0.5) ** u[0]),
                # Long vocal tracts go with low voices, but not strictly.
                formant=float(0.82 + 0.26 * (0.7 * u[0] + 0.3 * u[1])),
                rate=float(0.8 + 0.35 * u[2]),
                intonation=float(0.6 + 0.7 * u[3]),
                breath_db=float(-6 + 14 * u[4]),
                tilt_db=float(-3 + 5 * u[5]),
            )
        )
    return voices


def speak(text: str, voice: Voice = Voice(), rng: np.random.Generator | None = None) -> np.ndarray:
    """Synthesise English text -> float32 (N,) at 16 kHz in about ±0.5, with about 0.25 s of silence at both ends.

    `rng` draws the noise in the voice (fixed if not given). The same text, voice and state of `rng` give the same
    samples. Raises ImportError if hibari-tts is missing, ValueError if the text has no words to speak.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    engine = _engine(os.getpid())
    parts = []
    for phonemes in engine.phonemize(text):
        ids = engine.ids(phonemes)
        if len(ids) > 2:
            inputs = {"ids": np.asarray([ids], np.int64), "speed": np.asarray([voice.rate], np.float32)}
            parts.append(_vocode([output[0] for output in engine.sess.run(None, inputs)], voice, rng))
    if not parts:
        raise ValueError(f"the text {text!r} has nothing to speak; expected English words")
    return np.concatenate(parts)


def phonemize(text: str) -> list[str]:
    """Return a string of phonemes for each sentence of English text, in the alphabet of misaki and Kokoro."""
    return _engine(os.getpid()).phonemize(text)


@functools.lru_cache(maxsize=1)
def _engine(process_id: int) -> Any:
    """Return the network of this process: a session must not be used after a fork."""
    hibari_version()
    from hibari import Hibari

    return Hibari(threads=1)


def hibari_version() -> str:
    """Return the version of hibari-tts. Raises ImportError, with the install command, if it is missing."""
    try:
        return version("hibari-tts")
    except PackageNotFoundError:
        raise ImportError('synthetic speech needs the package hibari-tts: pip install "hibari-tts==0.2.1"') from None


def _vocode(outputs: list[np.ndarray], voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Compute the waveform from the network's outputs, by the formula of hibari.dsp and the changes of the voice.

    spectrum = exp(lh) e^(i pi tanh(th)) STFT(pulses(f0)) + exp(ln) Z + exp(lr) e^(i phi), arrays (bins, frames).
    """
    f0 = outputs[5]
    source = np.arange(_BINS, dtype=np.float32) / np.float32(voice.formant)
    below = np.minimum(source.astype(np.int64), outputs[0].shape[0] - 2)
    share = (source - below).clip(0, 1)[:, None]
    # The free phase cannot be interpolated: neighbours are unrelated.
    lh, th, ln, lr = (x[below] + share * (x[below + 1] - x[below]) for x in outputs[:4])
    phi = outputs[4][np.rint(source).astype(np.int64).clip(max=outputs[4].shape[0] - 1)]
    octaves = np.log2(np.maximum(np.arange(_BINS) * 20, 500) / 500)
    tilt = (octaves * voice.tilt_db * np.log(10) / 20).astype(np.float32)[:, None]

    spectrum = _stft(_pulses(_melody(f0, voice), _VOICED_HZ * voice.pitch), f0.size)
    spectrum *= _polar(lh + tilt, np.pi * np.tanh(th))
    noise = rng.standard_normal((_BINS, 2 * f0.size), dtype=np.float32).view(np.complex64)
    spectrum += noise * np.exp(np.minimum(ln + tilt + np.float32(voice.breath_db * np.log(10) / 20), 7))
    spectrum += _polar(lr + tilt, phi)
    return _inverse_stft(spectrum)


def _melody(f0: np.ndarray, voice: Voice) -> np.ndarray:
    """Return the fundamental frequency of each frame in Hz, 0 if unvoiced."""
    voiced = f0 > _VOICED_HZ
    if not voiced.any():
        return np.zeros_like(f0)
    log_f0 = np.log(np.maximum(f0, _VOICED_HZ))
    mean = log_f0[voiced].mean()
    return np.where(voiced, voice.pitch * np.exp(mean + voice.intonation * (log_f0 - mean)), 0).astype(np.float32)


def _polar(log_magnitude: np.ndarray, phase: np.ndarray) -> np.ndarray:
    values = np.empty(phase.shape, np.complex64)
    np.cos(phase, out=values.real)
    np.sin(phase, out=values.imag)
    values *= np.exp(np.minimum(log_magnitude, 7))
    return values


def _pulses(f0: np.ndarray, voiced_above_hz: float) -> np.ndarray:
    """Sum all harmonics of f0 (frames,) up to 7.6 kHz at unit amplitude -> (frames * hop,).

    sum of cos(h t) for h = 1..H is sin((H + 1/2) t) / (2 sin(t / 2)) - 1/2.
    """
    centres = (np.arange(f0.size) + 0.5) * _HOP
    frequency = np.interp(np.arange(f0.size * _HOP) + 0.5, centres, f0)
    voiced = frequency > voiced_above_hz
    frequency = np.maximum(frequency, voiced_above_hz)
    phase = (2 * np.pi * (np.cumsum(frequency / SAMPLING_RATE) % 1)).astype(np.float32)
    harmonics = np.floor(_HIGHEST_HARMONIC_HZ / frequency).astype(np.float32)
    denominator = 2 * np.sin(phase / 2)
    peak = np.abs(denominator) <= 2e-3
    denominator[peak] = 1
    pulses = np.where(peak, 2 * harmonics + 1, 2 * np.sin((harmonics + 0.5) * phase) / denominator) / 2 - 0.5
    pulses[~voiced] = 0
    return pulses


def _stft(samples: np.ndarray, num_frames: int) -> np.ndarray:
    """(frames * hop,) -> complex64 (bins, frames); a unit cosine peaks at 2."""
    padded = np.pad(samples, _N_FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _N_FFT)[::_HOP][:num_frames]
    return np.ascontiguousarray(np.fft.rfft(frames * (_WINDOW * np.float32(4 / _N_FFT)), axis=1).T)


def _inverse_stft(spectrum: np.ndarray) -> np.ndarray:
    """Complex (bins, frames) -> float32 (frames * hop,), overlap-add with the squared window divided out.

    The factor 1.5 is there because the spectra are for 24 kHz, with 1.5 times as many samples in a frame.
    """
    num_frames = spectrum.shape[1]
    frames = np.fft.irfft(spectrum.T, _N_FFT, axis=1) * _WINDOW
    total = np.zeros((num_frames + 3, _HOP), np.float32)
    weight = np.zeros_like(total)
    for part in range(4):
        span = slice(part * _HOP, (part + 1) * _HOP)
        total[part : part + num_frames] += frames[:, span]
        weight[part : part + num_frames] += _WINDOW[span] ** 2
    samples = (total / np.maximum(1.5 * weight, 1e-11)).reshape(-1)
    return samples[_N_FFT // 2 : _N_FFT // 2 + num_frames * _HOP]
