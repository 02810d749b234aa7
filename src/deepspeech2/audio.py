"""One recording: fetched where it lies on a server, measured, decoded. Never by `datasets`, which would want FFmpeg."""

import io
import math
from typing import Any

import fsspec
import numpy as np
import soundfile
import soxr

from .servers import PAUSES_S, Patience

OUTSIDE = "outside://"  # before the name of a file that a corpus may not name


class AudioError(ValueError):
    """A recording that cannot be read."""


def is_remote(audio: dict[str, Any]) -> bool:
    """Whether a recording is still to be fetched from a server."""
    return audio["bytes"] is None and "://" in (audio["path"] or "")


def fetch_audio(audio: dict[str, Any]) -> dict[str, Any]:
    """
    A recording on a server with its bytes; any other as it is.

    Raises:
        AudioError: the server has no such file, or the corpus may not name it.
        ConnectionError: the server cannot be reached or refuses, several times on end. That is no fault of the
            recording, which must not be left out for it.
    """
    if not is_remote(audio):
        return audio
    path = audio["path"]
    if path.startswith(OUTSIDE):
        raise AudioError(
            f"the recording {path.removeprefix(OUTSIDE)!r} lies outside its corpus: a dataset or an audio folder names "
            "files of its own; a manifest, given by its file name, may name any"
        )
    patience = Patience(_describe(audio))
    while True:
        try:
            with fsspec.open(path, "rb") as file:
                return {"bytes": file.read(), "path": path}
        except Exception as error:  # each protocol's client has errors of its own
            # fsspec takes every unhappy answer of a web server for a missing file.
            status = getattr(error.__cause__, "status", 404)
            if isinstance(error, FileNotFoundError) and status in (404, 410):
                raise AudioError(f"{_describe(audio)} does not exist") from error
            if not patience.wait(error):
                raise ConnectionError(
                    f"{_describe(audio)} could not be fetched, {len(PAUSES_S) + 1} times on end: {error}. "
                    "Once the server answers, the same command goes on from the last checkpoint"
                ) from error


def open_audio(audio: dict[str, Any], sampling_rate: int) -> np.ndarray:
    """
    Decode a recording: float32 (samples,), mono (channels averaged), at `sampling_rate` Hz.

    Raises:
        AudioError: no such file, not audio, no samples, or samples that are not finite.
    """
    try:
        samples, rate = soundfile.read(_source(audio), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{_describe(audio)} cannot be decoded: {error}") from error
    samples = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if rate != sampling_rate:
        samples = soxr.resample(samples, rate, sampling_rate)
    if samples.size == 0:
        raise AudioError(f"{_describe(audio)} holds no samples")
    if not math.isfinite(float(np.dot(samples, samples))):
        raise AudioError(f"{_describe(audio)} holds samples that are not finite numbers")
    return samples


def audio_duration_s(audio: dict[str, Any]) -> float:
    """
    Seconds of a recording, from its header.

    Raises:
        AudioError: no such file, or not audio.
    """
    try:
        info = soundfile.info(_source(audio))
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(f"{_describe(audio)} cannot be decoded: {error}") from error
    return info.frames / info.samplerate


def _source(audio: dict[str, Any]) -> Any:
    if audio["bytes"] is not None:
        return io.BytesIO(audio["bytes"])
    if audio["path"] is None:
        raise AudioError("a row holds neither the bytes nor the path of a recording")
    return audio["path"]


def _describe(audio: dict[str, Any]) -> str:
    size = "" if audio["bytes"] is None else f" ({len(audio['bytes'])} bytes)"
    return f"the recording {audio['path']!r}{size}"
