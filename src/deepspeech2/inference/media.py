"""Audio or video of any length, decoded by PyAV (FFmpeg's libraries, in its wheel) in blocks: hours in bounded memory.

Speech to train on comes by audio.py, which needs no FFmpeg and refuses what is damaged.
"""

import logging
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..data.recordings import LARGEST_SAMPLE, AudioError

logger = logging.getLogger(__name__)

BLOCK_S = 10.0
MAX_UTTERANCE_BLOCKS = 6
SMALLEST_GAP_S = 0.1  # between time stamps: shorter ones are rounding
LARGEST_GAP_S = 4 * 3600.0
NEVER_FILLED_IN = 0xFFFFFF00  # bytes
# What names other files, or devices, for FFmpeg to open: an upload could have it read what is not its own.
POINTERS = {"concat", "concatf", "dash", "hls", "imf", "lavfi", "sdp", "rtsp", "webm_dash_manifest", "image2"}


def read_blocks(path: Path, sampling_rate: int) -> Iterator[np.ndarray]:
    """
    The first audio stream of a file, from the moment that its players call 0.

    Where the stream starts later than the picture, where frames are missing by their time stamps or cannot be decoded,
    there is silence, so that a sample's place is its time.

    Args:
        path: anything that FFmpeg reads: WAV, FLAC, MP3, M4A, MP4, MKV, WebM, ...
        sampling_rate: Hz of the samples that come out.

    Yields:
        float32 (samples,), mono (channels averaged), of 10 s each but the last.

    Raises:
        AudioError: no such file, not media, no audio, not one frame that can be decoded, samples that are not finite,
            time stamps that jump by hours.
        ImportError: PyAV is not installed.
    """
    if not os.path.isfile(path):  # FFmpeg itself would open devices and addresses of the network
        raise AudioError(f"{str(path)!r} is no file", "missing_file")
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
    The blocks of a recording of up to a minute.

    Raises:
        AudioError, ImportError: see `read_blocks`; and a longer one, of which no more than that is decoded.
    """
    blocks = list(islice(read_blocks(path, sampling_rate), MAX_UTTERANCE_BLOCKS + 1))
    if len(blocks) > MAX_UTTERANCE_BLOCKS:
        raise AudioError(
            f"{str(path)!r} is longer than {MAX_UTTERANCE_BLOCKS * BLOCK_S:.0f} s; expected one utterance", "long"
        )
    return blocks


def _pieces(path: Path, sampling_rate: int) -> Iterator[np.ndarray]:
    """Samples as they are decoded, silence for what is missing among them."""
    try:
        import av
    except ImportError as error:
        raise ImportError(f"{error}; audio and video of any kind are read by PyAV: pip install av==18.1.0") from None
    name = repr(str(path))
    resampler, setup = None, None
    place = damaged = 0
    try:
        readable = ",".join(sorted(av.formats_available - POINTERS))
        options = {"format_whitelist": readable}
        with av.open(f"file:{path}", metadata_errors="replace", options=options) as container:
            if not container.streams.audio:
                kinds = sorted({stream.type for stream in container.streams})
                raise AudioError(f"{name} has no audio, but {', '.join(kinds) or 'no stream at all'}", "no_audio")
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
        what = "is empty" if not size else "is damaged" if place else "is no audio or video, or damaged"
        raise AudioError(
            f"{name} cannot be decoded after {place / sampling_rate:.1f} s: it {what} ({size:,} bytes)"
        ) from error
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise AudioError(f"{name} cannot be decoded after {place / sampling_rate:.1f} s: {error}") from error
    if (missing := _missing_bytes(path)) > 0:
        logger.warning(
            "%s is cut off: its header promises %s bytes more than there are. What there is ends after %.1f s; fetch "
            "or copy it again",
            name,
            f"{missing:,}",
            place / sampling_rate,
        )
    if not place:
        raise AudioError(f"{name} holds no audio that can be decoded ({damaged} damaged packets)", "empty_audio")
    if damaged:
        logger.warning("%s: %d damaged packets were taken for silence", name, damaged)


def _missing_bytes(path: Path) -> int:
    """Of a WAV: FFmpeg takes what there is for the whole. A size that was never filled in, of a pipe, says nothing."""
    with path.open("rb") as file:
        head = file.read(8)
    promised = int.from_bytes(head[4:], "little") + 8
    return promised - path.stat().st_size if head[:4] == b"RIFF" and promised < NEVER_FILLED_IN else 0


def _silences(gap: int, sampling_rate: int, where: str) -> Iterator[np.ndarray]:
    """Zeros for `gap` missing samples, a second at a time; nothing for what is rounding, or an overlap."""
    if gap > LARGEST_GAP_S * sampling_rate:
        raise AudioError(
            f"{where}: its time stamps jump by {gap / sampling_rate:,.0f} s; expected at most {LARGEST_GAP_S:,.0f} s. "
            "Write it anew: ffmpeg -i OLD -vn NEW.flac",
            "absurd_times",
        )
    if gap > SMALLEST_GAP_S * sampling_rate:
        for start in range(0, gap, sampling_rate):
            yield np.zeros(min(sampling_rate, gap - start), np.float32)


def _resampled(resampler: Any, frame: Any, name: str) -> Iterator[np.ndarray]:
    """A frame, or with None what the resampler still holds. FFmpeg's own mixing to mono would make stereo louder."""
    for resampled in resampler.resample(frame) if resampler else []:
        samples = resampled.to_ndarray().mean(axis=0)
        if not np.abs(samples).max(initial=0.0) < LARGEST_SAMPLE:  # nor where one is NaN
            raise AudioError(f"{name} holds samples that are not finite numbers or far from [-1, 1]", "not_finite")
        yield samples
