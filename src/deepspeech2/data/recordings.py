"""One recording: fetched where it lies on a server, measured, decoded. Never by `datasets`, which would want FFmpeg."""

import io
import os
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import soundfile
import soxr

from ..system.network import PAUSES_S, Patience

AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".opus", ".mp3", ".sph", ".aiff")  # of what soundfile decodes
OUTSIDE = "outside://"  # before the name of a file that a corpus may not name
# A header beyond these is damaged or a trap: what it promises is not even allocated.
MAX_DURATION_S = 3600.0
MIN_RATE_HZ, MAX_RATE_HZ = 1000, 768_000
MAX_VALUES = 400_000_000  # samples times channels: an hour of 48 kHz stereo
LARGEST_SAMPLE = 1e6  # the power spectrum of larger ones overflows; 16-bit samples as floats are 32768
SHORTEST_SHARE = 0.99  # of the header's samples that must be there; an MP3's header counts its decoder's delay too


class AudioError(ValueError):
    """A recording that cannot be used; `reason` is one word for the count."""

    def __init__(self, message: str, reason: str = "undecodable") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """What a recording says about itself."""

    num_samples: int
    sampling_rate: int
    channels: int

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sampling_rate


def is_remote(audio: dict[str, Any]) -> bool:
    """Whether a recording is still to be fetched from a server."""
    return audio["bytes"] is None and "://" in (audio["path"] or "")


def fetch_audio(audio: dict[str, Any]) -> dict[str, Any]:
    """
    A recording on a server with its bytes; any other as it is.

    Raises:
        AudioError: the server has no such file, or the corpus may not name it; a damaged archive on this machine.
        ConnectionError: the server cannot be reached or refuses, several times on end. That is no fault of the
            recording, which must not be left out for it.
    """
    if not is_remote(audio):
        return audio
    path = audio["path"]
    if path.startswith(OUTSIDE):
        raise AudioError(
            f"the recording {path.removeprefix(OUTSIDE)!r} lies outside its corpus: a dataset or an audio folder names "
            "files of its own; a manifest, given by its file name, may name any",
            "outside_corpus",
        )
    patience = Patience(_describe(audio))
    while True:
        try:
            with fsspec.open(path, "rb") as file:
                return {"bytes": file.read(), "path": path}
        except Exception as error:  # each protocol's client has errors of its own
            place = path.rpartition("::")[2]
            if "://" not in place or place.startswith(("file://", "local://")):
                raise AudioError(f"{_describe(audio)} cannot be read: {error}") from error
            # fsspec takes every unhappy answer of a web server for a missing file.
            status = getattr(error.__cause__, "status", 404)
            if isinstance(error, FileNotFoundError) and status in (404, 410):
                raise AudioError(f"{_describe(audio)} does not exist", "missing_file") from error
            if not patience.wait(error):
                raise ConnectionError(
                    f"{_describe(audio)} could not be fetched, {len(PAUSES_S) + 1} times on end: {error}. "
                    "Once the server answers, the same command goes on from the last checkpoint"
                ) from error


def open_audio(audio: dict[str, Any], sampling_rate: int) -> np.ndarray:
    """
    Decode a recording: float32 (samples,), mono (channels averaged), at `sampling_rate` Hz.

    Raises:
        AudioError: as `read_header`; fewer samples than the header promises, or samples that are not finite. A WAV or
            Ogg that was cut off does not tell: its length is that of what is left.
    """
    with _opened(audio) as file:
        header = _header(file, audio)
        try:
            samples = file.read(dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise AudioError(f"{_describe(audio)} cannot be decoded: {error}") from error
    if len(samples) < SHORTEST_SHARE * header.num_samples:
        found_s = len(samples) / header.sampling_rate
        raise AudioError(
            f"{_describe(audio)} is cut off: {found_s:.2f} s of the {header.duration_s:.2f} s in its header",
            "truncated",
        )
    samples = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not max(samples.max(), -samples.min()) < LARGEST_SAMPLE:  # nor where one is NaN
        raise AudioError(
            f"{_describe(audio)} holds samples that are not finite numbers or far from [-1, 1]", "not_finite"
        )
    if header.sampling_rate != sampling_rate:
        samples = soxr.resample(samples, header.sampling_rate, sampling_rate)
    return samples


def read_header(audio: dict[str, Any]) -> Header:
    """
    Length, rate and channels of a recording, nothing decoded.

    Raises:
        AudioError: no such file, not audio, no samples, or an hour and more.
    """
    with _opened(audio) as file:
        return _header(file, audio)


def audio_duration_s(audio: dict[str, Any]) -> float:
    """Seconds of a recording, from its header; errors as of `read_header`."""
    return read_header(audio).duration_s


def _opened(audio: dict[str, Any]) -> soundfile.SoundFile:
    path = audio["path"]
    if audio["bytes"] is not None:
        source: Any = io.BytesIO(audio["bytes"])
    elif path is None:
        raise AudioError("a row holds neither the bytes nor the path of a recording within its corpus", "missing_file")
    elif not os.path.isfile(path):  # a pipe or a device would be waited for, or read, without an end
        raise AudioError(f"{_describe(audio)} is no file", "missing_file")
    else:
        source = path
    try:
        return soundfile.SoundFile(source)
    except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: a name that ends in .raw
        raise AudioError(f"{_describe(audio)} cannot be decoded: {error}") from error


def _header(file: soundfile.SoundFile, audio: dict[str, Any]) -> Header:
    header = Header(file.frames, file.samplerate, file.channels)
    if header.num_samples <= 0:
        raise AudioError(f"{_describe(audio)} holds no samples", "empty_audio")
    rate_is_real = MIN_RATE_HZ <= header.sampling_rate <= MAX_RATE_HZ
    if not rate_is_real or header.duration_s > MAX_DURATION_S or header.num_samples * header.channels > MAX_VALUES:
        raise AudioError(
            f"{_describe(audio)} says in its header that it is {header.duration_s:,.0f} s of {header.channels} "
            f"channel(s) at {header.sampling_rate} Hz; expected at most {MAX_DURATION_S:,.0f} s at {MIN_RATE_HZ} to "
            f"{MAX_RATE_HZ} Hz, and {MAX_VALUES:,} samples of all channels",
            "absurd_header",
        )
    return header


def _describe(audio: dict[str, Any]) -> str:
    size = "" if audio["bytes"] is None else f" ({len(audio['bytes'])} bytes)"
    return f"the recording {audio['path']!r}{size}"
