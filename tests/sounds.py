"""Tones and encoded files for the tests of audio."""

import io

import numpy as np
import soundfile


def tone(duration_s: float, rate: int = 16000, channels: int = 1, hz: float = 440.0) -> np.ndarray:
    """(samples, channels)"""
    time_s = np.arange(round(duration_s * rate)) / rate
    return np.stack([0.3 * np.sin(2 * np.pi * hz * time_s)] * channels, axis=1)


def file_of(samples: np.ndarray, rate: int = 16000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def encoded(duration_s: float, rate: int = 16000, kind: str = "FLAC", channels: int = 1) -> bytes:
    return file_of(tone(duration_s, rate, channels), rate, kind)
