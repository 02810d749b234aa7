"""
Read audio or video of any length in blocks, with bounded memory.

soundfile decodes its formats (WAV, FLAC, Ogg, MP3, ...) into the same samples as data/audio/recordings.py. PyAV, whose
wheel holds the libraries of FFmpeg, decodes all other formats, and continues if soundfile finds damage.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from ..data.audio.recordings import LARGEST_SAMPLE, MAX_RATE_HZ, MIN_RATE_HZ, SHORTEST_SHARE, AudioError

logger = logging.getLogger(__name__)

BLOCK_S = 10.0
MAX_UTTERANCE_BLOCKS = 6
READ_VALUES = 1_000_000  # samples times channels decoded at once
SMALLEST_GAP_S = 0.1  # shorter gaps between time stamps are rounding
LARGEST_GAP_S = 4 * 3600.0
UNKNOWN_FRAMES = 1 << 62  # libsndfile reports about twice as many for a stream of unknown length
INSTALL_PYAV = "pip install av==18.1.0"
NEVER_FILLED_IN = 0xFFFFFF00  # bytes: larger sizes in a header are placeholders
CHAINED = {"OGG", "MP3", "FLAC"}  # formats in which recordings may follow each other; soundfile reads the first one
LARGEST_TAG = 4096  # bytes behind the audio that are no further recording
# Formats that name other files or devices for FFmpeg to open. An uploaded file could make it read private files.
POINTERS = {"concat", "concatf", "dash", "hls", "imf", "lavfi", "sdp", "rtsp", "webm_dash_manifest", "image2"}


def read_blocks(path: Path, sampling_rate: int) -> Iterator[np.ndarray]:
    """
    Read the first audio stream of a file, from the time that players show as 0.

    Silence fills the time before a late start of the stream, and missing or damaged frames. So the position of a sample
    is its time.

    Args:
        path: WAV, FLAC, Ogg, MP3, ... With PyAV also everything that FFmpeg reads: M4A, MP4, MKV, WebM, ...
        sampling_rate: sampling rate of the output in Hz.

    Yields:
        float32 (samples,), mono (channels averaged). Each block has 10 s, except the last.

    Raises:
        AudioError: the file does not exist, is not media, has no audio or no frame that can be decoded, has samples
            that are not finite, or has time stamps that jump by hours. Also if soundfile cannot decode it and PyAV is
            not installed.
    """
    if not os.path.isfile(path):  # FFmpeg itself would open devices and network addresses
        what = "is not a regular file; expected a recording" if path.exists() else "does not exist"
        what = f"is a folder; expected recordings, such as {path}/*.wav" if path.is_dir() else what
        raise AudioError(f"{str(path)!r} {what}", "missing_file")
    size = round(BLOCK_S * sampling_rate)
    waiting: list[np.ndarray] = []
    length = 0
    for samples in _pieces(path, sampling_rate):
        waiting.append(samples)
        length += len(samples)
        if length >= size:
            joined = np.concatenate(waiting)
            for start in range(0, length - size + 1, size):
                yield joined[start : start + size]
            waiting = [joined[length // size * size :].copy()]
            length = len(waiting[0])
    if length:
        yield np.concatenate(waiting)


def read_utterance(path: Path, sampling_rate: int) -> list[np.ndarray]:
    """
    Read the blocks of a recording of up to a minute.

    Raises:
        AudioError: see `read_blocks`. Also if the recording is longer, without decoding the rest.
    """
    blocks = list(islice(read_blocks(path, sampling_rate), MAX_UTTERANCE_BLOCKS + 1))
    if len(blocks) > MAX_UTTERANCE_BLOCKS:
        raise AudioError(
            f"{str(path)!r} is longer than {MAX_UTTERANCE_BLOCKS * BLOCK_S:.0f} s; expected a single utterance", "long"
        )
    return blocks


class _SoundfileStops(Exception):
    """
    soundfile does not support the format, finds damage, or reaches the end before the header says.

    Args:
        message: soundfile's own message.
        promised_s: duration in seconds according to the header. 0 means unknown.
        is_end: whether there are no more data.
        rest: bytes behind the recording that was decoded.
    """

    def __init__(self, message: str, promised_s: float = 0.0, is_end: bool = False, rest: int = 0) -> None:
        super().__init__(message)
        self.promised_s, self.is_end, self.rest = promised_s, is_end, rest


def _pieces(path: Path, sampling_rate: int) -> Iterator[np.ndarray]:
    """Yield samples decoded by soundfile and, from where it stops, by PyAV."""
    name, place, promised_s = repr(str(path)), 0, 0.0
    try:
        for samples in _soundfile_pieces(path, sampling_rate):
            place += len(samples)
            yield samples
    except _SoundfileStops as stop:
        promised_s, known = stop.promised_s, place
        try:
            import av
        except ImportError:
            if not stop.is_end:
                raise AudioError(_without_av(path, place / sampling_rate, str(stop))) from stop
            if stop.rest:
                logger.warning(
                    "%s: after %.1f s there are %s bytes more, a large tag or another recording, which PyAV reads: %s",
                    name,
                    place / sampling_rate,
                    f"{stop.rest:,}",
                    INSTALL_PYAV,
                )
        else:
            for samples in _av_pieces(av, path, sampling_rate):
                new = samples[known:]
                known -= len(samples) - len(new)
                place += len(new)
                yield new
    if not place:
        raise AudioError(f"{name} has no audio that can be decoded", "empty_audio")
    ends_s = place / sampling_rate
    missing = f"{missing_bytes:,} bytes" if (missing_bytes := _missing_bytes(path)) > 0 else ""
    if not missing and ends_s < SHORTEST_SHARE * promised_s:
        missing = f"{promised_s - ends_s:,.1f} s"
    if missing:
        logger.warning(
            "%s is cut off: according to its header %s are missing. It ends after %.1f s. Download or copy it again",
            name,
            missing,
            ends_s,
        )


def _without_av(path: Path, done_s: float, cause: str) -> str:
    size = path.stat().st_size
    if not size:
        return f"{str(path)!r} cannot be decoded: it is empty (0 bytes)"
    what = f"it is damaged ({cause})" if done_s else f"it is not WAV, FLAC, Ogg or MP3 ({cause})"
    return (
        f"{str(path)!r} cannot be decoded after {done_s:.1f} s: {what} ({size:,} bytes). PyAV reads damaged files, "
        f"other formats and video: {INSTALL_PYAV}"
    )


def _soundfile_pieces(path: Path, sampling_rate: int) -> Iterator[np.ndarray]:
    """
    Yield the samples that `recordings.open_audio` returns, up to 1,000,000 values at once.

    Raises:
        AudioError: samples are not finite, or the sampling rate is absurd.
        _SoundfileStops: soundfile cannot decode the rest.
    """
    name = repr(str(path))
    with ExitStack() as opened:
        try:
            raw = opened.enter_context(path.open("rb"))  # whose place says how far soundfile has read
            file = opened.enter_context(soundfile.SoundFile(raw.fileno(), closefd=False))
        except (soundfile.SoundFileError, OSError) as error:
            raise _SoundfileStops(getattr(error, "error_string", str(error))) from error
        rate = file.samplerate
        if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
            raise AudioError(
                f"{name} has a sampling rate of {rate} Hz in its header; expected {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz",
                "absurd_header",
            )
        resampler = soxr.ResampleStream(rate, sampling_rate, 1, dtype="float32") if rate != sampling_rate else None
        decoded, damage, ended = 0, "", False
        while not ended:
            try:
                samples = file.read(max(READ_VALUES // file.channels, 1), dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                samples, damage = np.zeros((0, 1), np.float32), getattr(error, "error_string", str(error))
            ended = not len(samples)
            decoded += len(samples)
            mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
            _refuse_absurd(mono, name)
            yield mono if resampler is None else resampler.resample_chunk(mono, last=ended)
        promised = file.frames if file.frames < UNKNOWN_FRAMES else 0
        if damage or decoded < SHORTEST_SHARE * promised or not decoded:
            raise _SoundfileStops(damage or "the data end early", promised / rate, is_end=not damage)
        rest = os.fstat(raw.fileno()).st_size - os.lseek(raw.fileno(), 0, os.SEEK_CUR)
        if file.format in CHAINED and rest > LARGEST_TAG:
            raise _SoundfileStops("more follows", promised / rate, is_end=True, rest=rest)


def _av_pieces(av: Any, path: Path, sampling_rate: int) -> Iterator[np.ndarray]:
    """Yield samples decoded by PyAV, with silence in place of missing or damaged frames."""
    name = repr(str(path))
    resampler, setup = None, None
    place = damaged = 0
    try:
        readable = ",".join(sorted(av.formats_available - POINTERS))
        options = {"format_whitelist": readable}
        with av.open(f"file:{path}", metadata_errors="replace", options=options) as container:
            if not container.streams.audio:
                kinds = sorted({stream.type for stream in container.streams})
                raise AudioError(f"{name} has no audio stream; it has {', '.join(kinds) or 'no streams'}", "no_audio")
            origin_s = (container.start_time or 0) / av.time_base
            for packet in container.demux(container.streams.audio[0]):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    damaged += 1
                    continue
                for frame in frames:
                    if (frame.format.name, frame.layout.name, frame.sample_rate) != setup:  # television changes midway
                        yield from _resampled(resampler, None, name)
                        setup = (frame.format.name, frame.layout.name, frame.sample_rate)
                        resampler = av.AudioResampler(format="fltp", rate=sampling_rate)
                    gap = 0 if frame.time is None else round((frame.time - origin_s) * sampling_rate) - place
                    for silence in _silences(gap, sampling_rate, f"{name}, at {place / sampling_rate:,.0f} s"):
                        place += len(silence)
                        yield silence
                    for samples in _resampled(resampler, frame, name):
                        place += len(samples)
                        yield samples
            yield from _resampled(resampler, None, name)
    except av.error.InvalidDataError as error:
        size = path.stat().st_size
        what = "is empty" if not size else "is damaged" if place else "is not audio or video, or it is damaged"
        raise AudioError(
            f"{name} cannot be decoded after {place / sampling_rate:.1f} s: it {what} ({size:,} bytes)"
        ) from error
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise AudioError(f"{name} cannot be decoded after {place / sampling_rate:.1f} s: {error}") from error
    if not place:
        raise AudioError(f"{name} has no audio that can be decoded ({damaged} damaged packets)", "empty_audio")
    if damaged:
        logger.warning("%s: %d damaged packets were replaced by silence", name, damaged)


def _missing_bytes(path: Path) -> int:
    """
    Return how many bytes a WAV file lacks, which FFmpeg does not report. A size that was never filled in, as in the
    output of a pipe, counts as unknown.
    """
    with path.open("rb") as file:
        head = file.read(8)
    promised = int.from_bytes(head[4:], "little") + 8
    return promised - path.stat().st_size if head[:4] == b"RIFF" and promised < NEVER_FILLED_IN else 0


def _silences(gap: int, sampling_rate: int, where: str) -> Iterator[np.ndarray]:
    """Yield zeros for `gap` missing samples, a second at a time. Rounding and overlaps give none."""
    if gap > LARGEST_GAP_S * sampling_rate:
        raise AudioError(
            f"{where}: its time stamps jump by {gap / sampling_rate:,.0f} s; expected at most {LARGEST_GAP_S:,.0f} s. "
            "Convert the file: ffmpeg -i OLD -vn NEW.flac",
            "absurd_times",
        )
    if gap > SMALLEST_GAP_S * sampling_rate:
        for start in range(0, gap, sampling_rate):
            yield np.zeros(min(sampling_rate, gap - start), np.float32)


def _resampled(resampler: Any, frame: Any, name: str) -> Iterator[np.ndarray]:
    """
    Yield a resampled frame, or with None what the resampler still holds. Channels are averaged here, because FFmpeg's
    own mixing to mono would make stereo louder.
    """
    for resampled in resampler.resample(frame) if resampler else []:
        samples = resampled.to_ndarray().mean(axis=0)
        _refuse_absurd(samples, name)
        yield samples


def _refuse_absurd(samples: np.ndarray, name: str) -> None:
    if not np.abs(samples).max(initial=0.0) < LARGEST_SAMPLE:  # also true for NaN
        raise AudioError(f"{name} has samples that are not finite, or far outside [-1, 1]", "not_finite")
