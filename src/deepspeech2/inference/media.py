"""
Read audio or video of any length in blocks, with bounded memory.

soundfile decodes its formats (WAV, FLAC, Ogg, MP3, ...) into the same samples as data/audio/recordings.py. PyAV, whose
wheel holds the libraries of FFmpeg, decodes all other formats, and continues if soundfile finds damage.
"""

import logging
import os
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from ..data.audio.channels import Mixer
from ..data.audio.decoding import AudioFile, NotAudioError
from ..data.audio.foreign import HEAD_BYTES, name_of
from ..data.audio.recordings import LARGEST_SAMPLE, MAX_RATE_HZ, MIN_RATE_HZ, SHORTEST_SHARE, AudioError

logger = logging.getLogger(__name__)

BLOCK_S = 10.0
MAX_UTTERANCE_BLOCKS = 6
SMALLEST_GAP_S = 0.1  # shorter gaps between time stamps are rounding
SMALLEST_LOSS_S = 0.08  # less may be the delay of a coding
LARGEST_GAP_S = 4 * 3600.0
INSTALL_PYAV = "pip install av==18.1.0"
MIXED_S = 1.0  # of all channels, that are mixed together
FAINTEST = 1e-4  # samples below it are silence
SEARCHED_S = 1800.0  # of each other track, for sound, if one is silent
# Formats that name other files or devices for FFmpeg to open. An uploaded file could make it read private files.
POINTERS = {"concat", "concatf", "dash", "hls", "imf", "lavfi", "sdp", "rtsp", "webm_dash_manifest", "image2"}


def read_blocks(path: Path, sampling_rate: int, track: int | None = None) -> Iterator[np.ndarray]:
    """
    Read an audio track of a file, from the time that players show as 0.

    Silence fills the time before a late start of the stream, and missing or damaged frames. So the position of a sample
    is its time.

    Args:
        path: WAV, FLAC, Ogg, MP3, ... With PyAV also everything that FFmpeg reads: M4A, MP4, MKV, WebM, ...
        sampling_rate: sampling rate of the output in Hz.
        track: the audio track, from 1. None is the first, and a warning lists the others.

    Yields:
        float32 (samples,), mono: channels are averaged, or one is taken if they cancel. Each block has 10 s, except the
        last.

    Raises:
        AudioError: the file does not exist, is not media, has no such track or no frame that can be decoded, has
            samples that are not finite, or has time stamps that jump by hours. Also if soundfile cannot decode it and
            PyAV is not installed.
    """
    if not os.path.isfile(path):  # FFmpeg itself would open devices and network addresses
        what = "is not a regular file; expected a recording" if path.exists() else "does not exist"
        what = f"is a folder; expected recordings, such as {path}/*.wav" if path.is_dir() else what
        raise AudioError(f"{str(path)!r} {what}", "missing_file")
    size = round(BLOCK_S * sampling_rate)
    waiting: list[np.ndarray] = []
    length = 0
    for samples in _pieces(path, sampling_rate, track):
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
        message: what it is.
        missing: what is missing according to the file itself, as a clause.
        is_end: whether there are no more data.
    """

    def __init__(self, message: str, missing: str = "", is_end: bool = False) -> None:
        super().__init__(message)
        self.missing, self.is_end = missing, is_end


def _pieces(path: Path, sampling_rate: int, track: int | None) -> Iterator[np.ndarray]:
    """Yield samples decoded by soundfile and, from where it stops, by PyAV."""
    name, place, missing, promised = repr(str(path)), 0, "", 0
    try:
        with AudioFile(str(path)) as file:
            if track is not None and track != 1:
                raise AudioError(f"{name} has one audio track, but track {track} was asked for", "no_audio")
            missing = file.layout.missing if file.layout.is_truncated else ""
            promised = round(file.num_samples / max(file.sampling_rate, 1) * sampling_rate)
            for note in file.layout.notes:
                logger.log(logging.INFO if note.name == "joined" else logging.WARNING, "%s: %s", name, note.detail)
            # FFmpeg puts silence in place of what is missing, so that the rest is at its time.
            if any(note.name == "damaged_frames" for note in file.layout.notes) and find_spec("av"):
                raise _SoundfileStops("it is damaged")
            for samples in _soundfile_pieces(file, name, sampling_rate):
                place += len(samples)
                yield samples
    except (_SoundfileStops, NotAudioError, OSError) as stop:
        missing = missing or (stop.missing if isinstance(stop, _SoundfileStops) else "")
        missing = missing or (stop.layout.missing if isinstance(stop, NotAudioError) else "")
        is_end = isinstance(stop, _SoundfileStops) and stop.is_end
        known = place
        try:
            import av
        except ImportError:
            if not is_end:
                raise AudioError(_without_av(path, place / sampling_rate, str(stop))) from stop
        else:
            for samples in _av_pieces(av, path, sampling_rate, track):
                new = samples[known:]
                known -= len(samples) - len(new)
                place += len(new)
                yield new
            lost_s = (promised - place) / sampling_rate
            if not missing and lost_s > SMALLEST_LOSS_S:  # FFmpeg leaves out damaged frames of FLAC without a word
                logger.warning("%s is damaged (%s): %.2f s are lost. Download or copy it again", name, stop, lost_s)
    if not place:
        raise AudioError(f"{name} has no audio that can be decoded", "empty_audio")
    if missing:
        ends_s = place / sampling_rate
        logger.warning("%s is cut off: %s. It ends after %.1f s. Download or copy it again", name, missing, ends_s)


def _without_av(path: Path, done_s: float, cause: str) -> str:
    size = path.stat().st_size
    if not size:
        return f"{str(path)!r} cannot be decoded: it is empty (0 bytes)"
    what = f"it is damaged ({cause})" if done_s else cause
    what = what if what.startswith("it is") else f"it is not WAV, FLAC, Ogg or MP3 ({cause})"
    return (
        f"{str(path)!r} cannot be decoded after {done_s:.1f} s: {what} ({size:,} bytes). PyAV reads damaged files, "
        f"other formats and video: {INSTALL_PYAV}"
    )


def _soundfile_pieces(file: AudioFile, name: str, sampling_rate: int) -> Iterator[np.ndarray]:
    """
    Yield the samples that `recordings.open_audio` returns, up to 1,000,000 values at once.

    Raises:
        AudioError: samples are not finite, or the sampling rate is absurd.
        _SoundfileStops: soundfile cannot decode the rest.
    """
    if not MIN_RATE_HZ <= file.sampling_rate <= MAX_RATE_HZ:
        raise AudioError(
            f"{name} has a sampling rate of {file.sampling_rate} Hz in its header; expected {MIN_RATE_HZ} to "
            f"{MAX_RATE_HZ} Hz",
            "absurd_header",
        )
    mixer, warned, resampler, last_rate, decoded_s, damage = Mixer(), False, None, 0, 0.0, ""
    blocks = file.blocks()
    while True:
        try:
            block, rate = next(blocks, (None, 0))
        except Exception as error:  # each decoder has its own errors
            block, rate, damage = None, 0, getattr(error, "error_string", str(error))
        if rate != last_rate and resampler is not None:
            yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            resampler = None
        if block is None:
            break
        if resampler is None and rate != sampling_rate:
            resampler = soxr.ResampleStream(rate, sampling_rate, 1, dtype="float32")
        last_rate, decoded_s = rate, decoded_s + len(block) / rate
        mono = mixer.mix(block)
        warned = _warn_of_cancelling(mixer, warned, name)
        _refuse_absurd(mono, name)
        yield mono if resampler is None else resampler.resample_chunk(mono)
    promised_s = file.num_samples / file.sampling_rate
    if damage or decoded_s < SHORTEST_SHARE * promised_s or not decoded_s:
        missing = f"according to its header {promised_s - decoded_s:,.1f} s are missing" if not damage else ""
        raise _SoundfileStops(damage or "the data end early", missing if decoded_s else "", is_end=not damage)


def _warn_of_cancelling(mixer: Mixer, warned: bool, name: str) -> bool:
    if mixer.cancel and not warned:
        logger.warning("%s: its channels cancel each other (one is the inverse of another): one of them is taken", name)
    return mixer.cancel


def _av_pieces(av: Any, path: Path, sampling_rate: int, track: int | None) -> Iterator[np.ndarray]:
    """
    Yield samples decoded by PyAV, with silence in place of missing or damaged frames. Say which of several tracks they
    are, and if it is silent and another is not.
    """
    name = repr(str(path))
    resampler, setup, mixer, warned, loud = None, None, Mixer(), False, False
    waiting: list[np.ndarray] = []  # (channels, samples) each, to be mixed
    place = damaged = 0

    def mixed() -> Iterator[np.ndarray]:
        nonlocal warned, loud
        if waiting:
            samples = mixer.mix(np.concatenate(waiting, axis=1).T)
            waiting.clear()
            warned = _warn_of_cancelling(mixer, warned, name)
            _refuse_absurd(samples, name)
            loud = loud or bool(np.ptp(samples) > FAINTEST)
            yield samples

    try:
        with _open_av(av, path) as container:
            number, others = _choose_track(container, track, name)
            origin_s = (container.start_time or 0) / av.time_base
            for packet in container.demux(container.streams.audio[number - 1]):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    damaged += 1
                    continue
                for frame in frames:
                    if (frame.format.name, frame.layout.name, frame.sample_rate) != setup:  # television changes midway
                        waiting += (rest := _resampled(resampler, None))
                        place += sum(samples.shape[1] for samples in rest)
                        yield from mixed()
                        setup = (frame.format.name, frame.layout.name, frame.sample_rate)
                        resampler = av.AudioResampler(format="fltp", rate=sampling_rate)
                    gap = 0 if frame.time is None else round((frame.time - origin_s) * sampling_rate) - place
                    for silence in _silences(gap, sampling_rate, f"{name}, at {place / sampling_rate:,.0f} s"):
                        yield from mixed()
                        place += len(silence)
                        yield silence
                    waiting += (new := _resampled(resampler, frame))
                    place += sum(samples.shape[1] for samples in new)
                    if sum(samples.shape[1] for samples in waiting) >= MIXED_S * sampling_rate:
                        yield from mixed()
            waiting += (rest := _resampled(resampler, None))
            place += sum(samples.shape[1] for samples in rest)
            yield from mixed()
            sounding = [] if loud else [other for other in others if _sounds(container, other)]
    except av.error.InvalidDataError as error:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        known = "it is damaged" if place else name_of(head) or "it is not audio or video, or it is damaged"
        raise AudioError(
            f"{name} cannot be decoded after {place / sampling_rate:.1f} s: {known} ({size:,} bytes)"
        ) from error
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise AudioError(f"{name} cannot be decoded after {place / sampling_rate:.1f} s: {error}") from error
    if not place:
        raise AudioError(f"{name} has no audio that can be decoded ({damaged} damaged packets)", "empty_audio")
    if damaged:
        logger.warning("%s: %d damaged packets were replaced by silence", name, damaged)
    if sounding:
        logger.warning(
            "%s: audio track %d is silent, but track %s is not: --track %d takes it",
            name,
            number,
            " and ".join(map(str, sounding)),
            sounding[0],
        )


def _open_av(av: Any, path: Path) -> Any:
    readable = ",".join(sorted(av.formats_available - POINTERS))
    return av.open(f"file:{path}", metadata_errors="replace", options={"format_whitelist": readable})


def _choose_track(container: Any, track: int | None, name: str) -> tuple[int, list[int]]:
    """Return the number of the audio track to read, from 1, and those of the others."""
    streams = container.streams.audio
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        raise AudioError(f"{name} has no audio stream; it has {', '.join(kinds) or 'no streams'}", "no_audio")
    tracks = []
    for number, stream in enumerate(streams, 1):
        coding = [stream.codec_context.name, stream.layout.name] if stream.codec_context else ["unknown coding"]
        about = [stream.language, stream.metadata.get("title"), *coding]
        tracks.append(f"{number} ({', '.join(filter(None, about))})")
    if track is not None and not 1 <= track <= len(tracks):
        raise AudioError(f"{name} has no audio track {track}; expected one of {', '.join(tracks)}", "no_audio")
    if len(tracks) > 1:
        logger.warning(
            "%s has %d audio tracks: %s. Track %d is used%s",
            name,
            len(tracks),
            ", ".join(tracks),
            track or 1,
            "" if track else "; --track takes another",
        )
    chosen = track or 1
    known = [number for number, stream in enumerate(streams, 1) if stream.codec_context]
    if chosen not in known:
        raise AudioError(f"{name} cannot be decoded: FFmpeg does not know the coding of its audio", "undecodable")
    return chosen, [number for number in known if number != chosen]


def _sounds(container: Any, track: int) -> bool:
    """Return whether an audio track has sound in its first half hour."""
    container.seek(0)
    for frame in container.decode(container.streams.audio[track - 1]):
        samples = frame.to_ndarray()
        scale = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max)
        if np.ptp(samples / scale) > FAINTEST:
            return True
        if frame.time is not None and frame.time > SEARCHED_S:
            return False
    return False


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


def _resampled(resampler: Any, frame: Any) -> list[np.ndarray]:
    """
    Return the (channels, samples) of a resampled frame, or with None what the resampler still holds. Channels are mixed
    later, because FFmpeg's own mixing to mono would make stereo louder.
    """
    return [resampled.to_ndarray() for resampled in resampler.resample(frame)] if resampler else []


def _refuse_absurd(samples: np.ndarray, name: str) -> None:
    if not np.abs(samples).max(initial=0.0) < LARGEST_SAMPLE:  # also true for NaN
        raise AudioError(f"{name} has samples that are not finite, or far outside [-1, 1]", "not_finite")
