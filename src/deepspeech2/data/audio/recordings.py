"""Fetch, measure and decode a recording. The audio decoder of `datasets` is not used: it needs FFmpeg."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from .channels import Mixer
from .decoding import AudioFile, NotAudioError
from .layout import Note

logger = logging.getLogger(__name__)

AUDIO_SUFFIXES = (  # formats that soundfile decodes
    *(".flac", ".wav", ".ogg", ".oga", ".opus", ".mp3", ".sph", ".aiff", ".aif", ".aifc", ".au", ".caf", ".w64"),
)
OUTSIDE = "outside://"  # prefix of a file outside the corpus, which the corpus must not read
# A header beyond these limits is damaged or malicious. No memory is allocated for it.
MAX_DURATION_S = 3600.0
MIN_RATE_HZ, MAX_RATE_HZ = 1000, 768_000
MAX_VALUES = 400_000_000  # samples times channels: an hour of 48 kHz stereo
LARGEST_SAMPLE = 1e6  # the power spectrum of larger samples overflows; unscaled 16-bit samples reach 32768
SPAN_SLACK_S = 0.05  # lists round their times
CANCEL = Note("channels_cancel", "its channels cancel each other, and one of them is taken")
HARMLESS = ("joined",)
_said: set[str] = set()  # the kinds of odd recordings that were named in this process
SHORTEST_SHARE = 0.99  # minimum share of the samples that are expected


class AudioError(ValueError):
    """A recording cannot be used. `reason` is the word under which it is counted."""

    def __init__(self, message: str, reason: str = "undecodable") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """
    The length, rate and channels of a recording.

    `num_samples` are those of its span, which begins at sample `start` of the file. `notes` say what is odd about the
    file.
    """

    num_samples: int
    sampling_rate: int
    channels: int
    start: int = 0
    notes: tuple[Note, ...] = ()

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
    # Imported here, because they take a quarter of the start of a command that reads local files.
    import fsspec

    from ...system.network import PAUSES_S, Patience

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
    Decode a recording: float32 (samples,), mono, at `sampling_rate` Hz.

    Channels are averaged, or one is taken if they cancel. `start_s` and `end_s` of the recording, if it has them,
    choose a part of the file.

    Raises:
        AudioError: as `read_header`, or the file is damaged, or samples are not finite, or none are left at
            `sampling_rate`.
    """
    with _opened(audio) as file:
        header = _header(file, audio)
        samples, cancel = _decoded(file, header, audio, sampling_rate)
    for note in (*header.notes, *([CANCEL] if cancel else [])):
        _say_once(note, audio)
    return samples


def _say_once(note: Note, audio: dict[str, Any]) -> None:
    """Log what is odd about a recording that is read all the same: the first of each kind in a process."""
    if note.name in HARMLESS or note.name in _said:
        return
    _said.add(note.name)
    logger.warning(
        "%s: %s. Further recordings of this kind are read without a warning: recipes/check_data.py lists them as %s",
        _describe(audio),
        note.detail,
        note.name,
    )


def channels_cancel(audio: dict[str, Any]) -> bool:
    """Return whether the channels of a recording cancel each other, so that one was taken. Raises as `open_audio`."""
    with _opened(audio) as file:
        header = _header(file, audio)
        return header.channels > 1 and _decoded(file, header, audio, header.sampling_rate)[1]


def _decoded(file: AudioFile, header: Header, audio: dict[str, Any], sampling_rate: int) -> tuple[np.ndarray, bool]:
    runs: list[tuple[int, list[np.ndarray]]] = []  # of one rate and number of channels
    for block, rate in file.blocks(header.start, header.num_samples):
        if not runs or runs[-1][0] != rate or runs[-1][1][0].shape[1] != block.shape[1]:
            runs.append((rate, []))
        runs[-1][1].append(block)
    found_s = sum(len(block) / rate for rate, blocks in runs for block in blocks)
    if found_s < SHORTEST_SHARE * header.duration_s:
        raise AudioError(
            f"{_describe(audio)} is truncated: {found_s:.2f} s of the {header.duration_s:.2f} s in its header",
            "truncated",
        )
    mixed, cancel = [], False
    for rate, blocks in runs:
        mixer = Mixer()
        samples = mixer.mix(np.concatenate(blocks) if len(blocks) > 1 else blocks[0])
        if not max(samples.max(), -samples.min()) < LARGEST_SAMPLE:  # also true for NaN
            raise AudioError(f"{_describe(audio)} has samples that are not finite or far outside [-1, 1]", "not_finite")
        mixed.append(samples if rate == sampling_rate else soxr.resample(samples, rate, sampling_rate))
        cancel |= mixer.cancel
    joined = np.concatenate(mixed) if len(mixed) > 1 else mixed[0]
    if not joined.size:
        raise AudioError(
            f"{_describe(audio)} has {header.num_samples} sample(s) at {header.sampling_rate:,} Hz: none are left at "
            f"{sampling_rate:,} Hz",
            "empty_audio",
        )
    return joined, cancel


def read_header(audio: dict[str, Any], longest_s: float = MAX_DURATION_S) -> Header:
    """
    Read the length, rate and channels of a recording without decoding it.

    Args:
        audio: the recording.
        longest_s: the longest duration that is believed.

    Raises:
        AudioError: the file does not exist, is not audio, has no samples, is cut off, or is too long, or the recording
            is a span that is not in the file.
    """
    with _opened(audio) as file:
        return _header(file, audio, longest_s)


def audio_duration_s(audio: dict[str, Any]) -> float:
    """Return the seconds of a recording. Raises as `read_header`."""
    return read_header(audio).duration_s


@contextmanager
def _opened(audio: dict[str, Any]) -> Iterator[AudioFile]:
    """Open a recording. Whatever a decoder raises while it is open becomes an AudioError."""
    path = audio["path"]
    if audio["bytes"] is None and path is None:
        raise AudioError("a row has neither the bytes nor the path of a recording in its corpus", "missing_file")
    if audio["bytes"] is None and not os.path.isfile(path):  # reading a pipe or a device might never end
        raise AudioError(f"{_describe(audio)} is not a file", "missing_file")
    try:
        with AudioFile(path if audio["bytes"] is None else audio["bytes"]) as file:
            yield file
    except AudioError:
        raise
    except NotAudioError as error:
        if error.layout.missing:
            raise AudioError(f"{_describe(audio)} is truncated: {error}", "truncated") from error
        raise AudioError(f"{_describe(audio)} cannot be decoded: {error}") from error
    except Exception as error:  # each decoder has its own errors, and damage leads to others, such as MemoryError
        raise AudioError(f"{_describe(audio)} cannot be decoded: {str(error) or type(error).__name__}") from error


def _header(file: AudioFile, audio: dict[str, Any], longest_s: float = MAX_DURATION_S) -> Header:
    layout = file.layout
    if layout.is_truncated and audio.get("end_s") is None:
        if layout.promised_s > longest_s:
            raise _absurd(file, audio, layout.promised_s)
        raise AudioError(f"{_describe(audio)} is truncated: {layout.missing}", "truncated")
    if file.num_samples <= 0:
        raise AudioError(f"{_describe(audio)} has no samples", "empty_audio")
    if not MIN_RATE_HZ <= file.sampling_rate <= MAX_RATE_HZ:
        raise _absurd(file, audio, file.num_samples / max(file.sampling_rate, 1))
    start, end = _span(audio, file.num_samples, file.sampling_rate)
    header = Header(end - start, file.sampling_rate, file.channels, start, layout.notes)
    too_many = header.num_samples * header.channels > MAX_VALUES * max(longest_s / MAX_DURATION_S, 1.0)
    if header.duration_s > longest_s or too_many:
        raise _absurd(file, audio, header.duration_s)
    return header


def _absurd(file: AudioFile, audio: dict[str, Any], duration_s: float) -> AudioError:
    return AudioError(
        f"{_describe(audio)} claims in its header to be {duration_s:,.0f} s of {file.channels} channel(s) at "
        f"{file.sampling_rate} Hz; expected at most {MAX_DURATION_S:,.0f} s at {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz, and "
        f"{MAX_VALUES:,} samples of all channels",
        "absurd_header",
    )


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
