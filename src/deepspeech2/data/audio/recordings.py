"""Fetch, measure and decode a recording. The audio decoder of `datasets` is not used: it needs FFmpeg."""

import io
import os
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import soundfile
import soxr

from ...system.network import PAUSES_S, Patience

AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".opus", ".mp3", ".sph", ".aiff")  # formats that soundfile decodes
OUTSIDE = "outside://"  # prefix of a file outside the corpus, which the corpus must not read
# A header beyond these limits is damaged or malicious. No memory is allocated for it.
MAX_DURATION_S = 3600.0
MIN_RATE_HZ, MAX_RATE_HZ = 1000, 768_000
MAX_VALUES = 400_000_000  # samples times channels: an hour of 48 kHz stereo
LARGEST_SAMPLE = 1e6  # the power spectrum of larger samples overflows; unscaled 16-bit samples reach 32768
SPAN_SLACK_S = 0.05  # lists round their times
SHORTEST_SHARE = 0.99  # minimum share of the header's samples; an MP3 header also counts the delay of the decoder


class AudioError(ValueError):
    """A recording cannot be used. `reason` is the word under which it is counted."""

    def __init__(self, message: str, reason: str = "undecodable") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """
    The length, rate and channels of a recording.

    `num_samples` are those of its span, which begins at sample `start` of the file.
    """

    num_samples: int
    sampling_rate: int
    channels: int
    start: int = 0

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sampling_rate


def is_remote(audio: dict[str, Any]) -> bool:
    """Return whether a recording must be fetched from a server."""
    return audio["bytes"] is None and "://" in (audio["path"] or "")


def fetch_audio(audio: dict[str, Any]) -> dict[str, Any]:
    """
    Fetch a recording from a server. Other recordings are returned unchanged.

    Raises:
        AudioError: the server does not have the file, the file is outside the corpus, or a local archive is damaged.
        ConnectionError: the server does not answer, or refuses, several times in a row. The recording itself may be
            good, so it must not be dropped.
    """
    if not is_remote(audio):
        return audio
    path = audio["path"]
    if path.startswith(OUTSIDE):
        raise AudioError(
            f"the recording {path.removeprefix(OUTSIDE)!r} lies outside its corpus: a dataset or an audio folder can "
            "only name its own files. Use a manifest, which can name any file",
            "outside_corpus",
        )
    patience = Patience(_describe(audio))
    while True:
        try:
            with fsspec.open(path, "rb") as file:
                return audio | {"bytes": file.read()}
        except Exception as error:  # the client of each protocol has its own errors
            place = path.rpartition("::")[2]
            if "://" not in place or place.startswith(("file://", "local://")):
                raise AudioError(f"{_describe(audio)} cannot be read: {error}") from error
            # fsspec reports every error of a web server as a missing file.
            status = getattr(error.__cause__, "status", 404)
            if isinstance(error, FileNotFoundError) and status in (404, 410):
                raise AudioError(f"{_describe(audio)} does not exist", "missing_file") from error
            if not patience.wait(error):
                raise ConnectionError(
                    f"{_describe(audio)} could not be fetched in {len(PAUSES_S) + 1} attempts: {error}. "
                    "Once the server answers, run the same command to resume from the last checkpoint"
                ) from error


def open_audio(audio: dict[str, Any], sampling_rate: int) -> np.ndarray:
    """
    Decode a recording: float32 (samples,), mono (channels averaged), at `sampling_rate` Hz.

    `start_s` and `end_s` of the recording, if it has them, choose a part of the file.

    Raises:
        AudioError: as `read_header`, or there are fewer samples than the header says, or samples are not finite. A
            truncated WAV or Ogg file cannot be detected: its length is that of the rest.
    """
    with _opened(audio) as file:
        header = _header(file, audio)
        try:
            file.seek(header.start)
            samples = file.read(header.num_samples, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise AudioError(f"{_describe(audio)} cannot be decoded: {error}") from error
    if len(samples) < SHORTEST_SHARE * header.num_samples:
        found_s = len(samples) / header.sampling_rate
        raise AudioError(
            f"{_describe(audio)} is truncated: {found_s:.2f} s of the {header.duration_s:.2f} s in its header",
            "truncated",
        )
    samples = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not max(samples.max(), -samples.min()) < LARGEST_SAMPLE:  # also true for NaN
        raise AudioError(f"{_describe(audio)} has samples that are not finite or far outside [-1, 1]", "not_finite")
    if header.sampling_rate != sampling_rate:
        samples = soxr.resample(samples, header.sampling_rate, sampling_rate)
    return samples


def read_header(audio: dict[str, Any]) -> Header:
    """
    Read the length, rate and channels of a recording without decoding it.

    Raises:
        AudioError: the file does not exist, is not audio, has no samples, or is longer than an hour.
    """
    with _opened(audio) as file:
        return _header(file, audio)


def audio_duration_s(audio: dict[str, Any]) -> float:
    """Return the seconds of a recording, from its header. Raises as `read_header`."""
    return read_header(audio).duration_s


def _opened(audio: dict[str, Any]) -> soundfile.SoundFile:
    path = audio["path"]
    if audio["bytes"] is not None:
        source: Any = io.BytesIO(audio["bytes"])
    elif path is None:
        raise AudioError("a row has neither the bytes nor the path of a recording in its corpus", "missing_file")
    elif not os.path.isfile(path):  # reading a pipe or a device might never end
        raise AudioError(f"{_describe(audio)} is not a file", "missing_file")
    else:
        source = path
    try:
        return soundfile.SoundFile(source)
    except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: a name that ends in .raw
        raise AudioError(f"{_describe(audio)} cannot be decoded: {error}") from error


def _header(file: soundfile.SoundFile, audio: dict[str, Any]) -> Header:
    if file.frames <= 0:
        raise AudioError(f"{_describe(audio)} has no samples", "empty_audio")
    start, end = _span(audio, file.frames, file.samplerate)
    header = Header(end - start, file.samplerate, file.channels, start)
    rate_is_real = MIN_RATE_HZ <= header.sampling_rate <= MAX_RATE_HZ
    if not rate_is_real or header.duration_s > MAX_DURATION_S or header.num_samples * header.channels > MAX_VALUES:
        raise AudioError(
            f"{_describe(audio)} claims in its header to be {header.duration_s:,.0f} s of {header.channels} "
            f"channel(s) at {header.sampling_rate} Hz; expected at most {MAX_DURATION_S:,.0f} s at {MIN_RATE_HZ} to "
            f"{MAX_RATE_HZ} Hz, and {MAX_VALUES:,} samples of all channels",
            "absurd_header",
        )
    return header


def _span(audio: dict[str, Any], num_samples: int, sampling_rate: int) -> tuple[int, int]:
    """
    Return the first sample of a recording's span in its file, and the one after the last.

    Raises:
        AudioError: the span is not in the file. An end that is up to SPAN_SLACK_S too late is cut to the file.
    """
    start_s, end_s = audio.get("start_s"), audio.get("end_s")
    duration_s = num_samples / sampling_rate
    first_s = 0.0 if start_s is None else start_s
    last_s = duration_s if end_s is None else min(end_s, duration_s)
    start, end = 0, 0
    if 0 <= first_s < last_s and (end_s is None or end_s <= duration_s + SPAN_SLACK_S):  # all False for NaN
        start, end = round(first_s * sampling_rate), min(round(last_s * sampling_rate), num_samples)
    if start >= end:
        raise AudioError(
            f"{_describe(audio)} lasts {duration_s:.3f} s, but its span is from {start_s} to {end_s} s; expected "
            "0 <= start < end <= duration",
            "bad_span",
        )
    return start, end


def _describe(audio: dict[str, Any]) -> str:
    size = "" if audio["bytes"] is None else f" ({len(audio['bytes'])} bytes)"
    return f"the recording {audio['path']!r}{size}"
