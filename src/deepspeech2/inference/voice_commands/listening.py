"""Recognise voice commands live, from a microphone or a file."""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from ..media import read_blocks
from ..streaming import Endpointer, Stream
from .recognition import Command, CommandRecogniser

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TimedCommand:
    """
    A command in a stream.

    Args:
        command: the command or its rejection.
        start_s, end_s: start of the first letter and end of the last letter, in seconds of the stream.
        latency_s: seconds from `end_s` until the command is known: the audio that must arrive first, and the computing.
    """

    command: Command
    start_s: float
    end_s: float
    latency_s: float

    def __str__(self) -> str:
        return f"{self.start_s:7.2f} - {self.end_s:.2f} s: {self.command} [{1000 * self.latency_s:.0f} ms]"

    def to_dict(self) -> dict[str, object]:
        """Return the command as values for JSON."""
        times = {name: round(getattr(self, name), 3) for name in ("start_s", "end_s", "latency_s")}
        return self.command.to_dict() | times


class CommandListener:
    """
    Recognises the commands in live audio.

    Args:
        stream: a stream over the model.
        recogniser: a recogniser for the same model.
        silence_s, longest_s: see `Endpointer`.
    """

    def __init__(
        self, stream: Stream, recogniser: CommandRecogniser, silence_s: float = 0.5, longest_s: float = 15.0
    ) -> None:
        self.stream, self.recogniser = stream, recogniser
        times_s = (recogniser.frame_s, recogniser.first_frame_s)
        self.endpointer = Endpointer(
            recogniser.blank, recogniser.space, *times_s, silence_s=silence_s, longest_s=longest_s
        )
        self.audio_s = self.compute_s = 0.0
        self._sound = np.zeros(0, np.float32)  # samples of frames that are not final yet

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing per second of audio so far."""
        return self.compute_s / max(self.audio_s, 1e-9)

    def listen(self, pieces: Iterable[np.ndarray]) -> Iterator[TimedCommand]:
        """
        Yield the commands, each as soon as it is known. `audio_s` and `compute_s` start again at 0.

        Args:
            pieces: consecutive chunks of float32 samples (n,), at the model's rate.
        """
        self.audio_s = self.compute_s = 0.0
        for samples in pieces:
            started = time.perf_counter()
            self.audio_s += len(samples) / self.stream.sampling_rate
            yield from self._recognised(self.stream.push(samples).numpy(), samples, started)
        started = time.perf_counter()
        yield from self._recognised(self.stream.finish().numpy(), np.zeros(0, np.float32), started, ended=True)

    def _recognised(
        self, log_probs: np.ndarray, samples: np.ndarray, started: float, ended: bool = False
    ) -> list[TimedCommand]:
        utterances = list(self.endpointer.push(log_probs, self._levels_db(samples, len(log_probs))))
        if ended:
            utterances += self.endpointer.finish()
            self._sound = self._sound[:0]
        commands = [self.recogniser.recognise(utterance.log_probs) for utterance in utterances]
        # The last frame ends after the last sample.
        spoken_s = [(start_s, min(end_s, self.audio_s)) for start_s, end_s in (one.spoken_s for one in utterances)]
        took_s = time.perf_counter() - started
        self.compute_s += took_s
        return [
            TimedCommand(command, start_s, end_s, self.audio_s + took_s - end_s)
            for command, (start_s, end_s) in zip(commands, spoken_s, strict=True)
        ]

    def _levels_db(self, samples: np.ndarray, count: int) -> np.ndarray:
        """Return the power of the audio at each frame that is now final, (count,), in dB relative to full scale."""
        size = round(self.recogniser.frame_s * self.stream.sampling_rate)
        sound = np.concatenate([self._sound, samples])
        frames, self._sound = sound[: count * size], sound[count * size :]
        frames = np.pad(frames, (0, count * size - len(frames))).reshape(count, size)
        return 10 * np.log10(np.square(frames, dtype=np.float64).mean(axis=1) + 1e-12)


def file_pieces(path: Path, sampling_rate: int, piece_s: float, realtime: bool = False) -> Iterator[np.ndarray]:
    """
    Yield a recording in chunks of `piece_s` seconds, (n,) float32. With `realtime` they come as fast as from a
    microphone.

    Raises:
        AudioError: see `read_blocks`.
    """
    size, place, started = max(round(piece_s * sampling_rate), 1), 0, time.monotonic()
    for block in read_blocks(path, sampling_rate):
        for start in range(0, len(block), size):
            samples = block[start : start + size]
            place += len(samples)
            if realtime:
                time.sleep(max(started + place / sampling_rate - time.monotonic(), 0.0))
            yield samples


def microphone_pieces(sampling_rate: int, piece_s: float) -> Iterator[np.ndarray]:
    """
    Yield audio from the default microphone in chunks of about `piece_s` seconds, (n,) float32, without end.

    A microphone without `sampling_rate` or without mono records as it can. Its first channel is then resampled.

    Raises:
        ImportError: sounddevice or PortAudio is not installed.
        ValueError: there is no microphone, or it stops.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: without PortAudio
        raise ImportError(
            f"the microphone needs sounddevice and PortAudio ({error}): pip install sounddevice, and on Debian or "
            "Ubuntu apt install libportaudio2"
        ) from None
    try:
        rate, channels = _microphone_settings(sounddevice, sampling_rate)
        size = max(round(piece_s * rate), 1)
        resampler = soxr.ResampleStream(rate, sampling_rate, 1, dtype="float32") if rate != sampling_rate else None
        with sounddevice.InputStream(rate, size, channels=channels, dtype="float32") as microphone:
            while True:
                samples, overflowed = microphone.read(size)
                if overflowed:
                    logger.warning("the computer is too slow for the microphone, and some audio is lost")
                samples = samples[:, 0].copy()
                yield samples if resampler is None else resampler.resample_chunk(samples)
    except sounddevice.PortAudioError as error:
        raise ValueError(f"the microphone cannot record: {error}; python -m sounddevice lists the devices") from error


def _microphone_settings(sounddevice: Any, sampling_rate: int) -> tuple[int, int]:
    """Return the rate and the channels to record with: `sampling_rate` and 1, or those that the microphone offers."""
    try:
        sounddevice.check_input_settings(channels=1, dtype="float32", samplerate=sampling_rate)
    except sounddevice.PortAudioError as error:
        offered = sounddevice.query_devices(kind="input")
        rate, channels = round(offered["default_samplerate"]), offered["max_input_channels"]
        logger.info(
            "the microphone cannot record in mono at %d Hz (%s): the first of its %d channels is resampled from %d Hz",
            sampling_rate,
            error,
            channels,
            rate,
        )
        return rate, channels
    return sampling_rate, 1
