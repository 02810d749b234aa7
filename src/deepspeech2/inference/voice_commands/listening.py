"""Voice commands: of a recording, or out of sound that is still coming, from a microphone or a file."""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...data.augmentation import trim
from ...model.modeling_deepspeech2 import DeepSpeech2ForCTC
from ...model.processing_deepspeech2 import DeepSpeech2Processor
from ..long_form import Listener
from ..media import read_blocks, read_utterance
from ..streaming import Endpointer, Stream
from .recognition import Command, CommandRecogniser, load_recogniser

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Heard:
    """
    Args:
        command: what it was, or its rejection.
        start_s, end_s: of its letters, in the stream.
        latency_s: from `end_s` until the command was known: the sound that had to come first, and the computing.
    """

    command: Command
    start_s: float
    end_s: float
    latency_s: float

    def __str__(self) -> str:
        return f"{self.start_s:7.2f} - {self.end_s:.2f} s: {self.command} [{1000 * self.latency_s:.0f} ms]"

    def to_dict(self) -> dict[str, object]:
        """JSON-able."""
        times = {name: round(getattr(self, name), 3) for name in ("start_s", "end_s", "latency_s")}
        return self.command.to_dict() | times


def recognise_recording(listener: Listener, recogniser: CommandRecogniser, path: Path) -> Command:
    """
    The command of a recording of up to a minute.

    Raises:
        AudioError, ImportError: see `read_utterance`.
    """
    samples, cut_s = np.concatenate([*read_utterance(path, listener.sampling_rate), np.zeros(0, np.float32)]), 0.0
    if recogniser.trims:
        samples, cut_s = trim(samples, listener.sampling_rate)
    command = recogniser.recognise(listener.whole([samples]).numpy())
    return replace(command, start_s=command.start_s + cut_s, end_s=command.end_s + cut_s) if command.best else command


class CommandListener:
    """
    Args:
        stream: a model over the sound.
        recogniser: of the same model.
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
        self._sound = np.zeros(0, np.float32)  # of frames that are not final yet

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing for each second of sound so far."""
        return self.compute_s / max(self.audio_s, 1e-9)

    def listen(self, pieces: Iterable[np.ndarray]) -> Iterator[Heard]:
        """
        Args:
            pieces: (n,) float32 one after another, at the model's rate.
        """
        for samples in pieces:
            started = time.perf_counter()
            self.audio_s += len(samples) / self.stream.sampling_rate
            yield from self._recognised(self.stream.push(samples).numpy(), samples, started)
        started = time.perf_counter()
        yield from self._recognised(self.stream.finish().numpy(), np.zeros(0, np.float32), started, ended=True)

    def _recognised(
        self, log_probs: np.ndarray, samples: np.ndarray, started: float, ended: bool = False
    ) -> list[Heard]:
        utterances = list(self.endpointer.push(log_probs, self._levels_db(samples, len(log_probs))))
        if ended:
            utterances += self.endpointer.finish()
            self._sound = self._sound[:0]
        commands = [self.recogniser.recognise(utterance.log_probs) for utterance in utterances]
        # The last frame lasts beyond the last sample.
        spoken_s = [(start_s, min(end_s, self.audio_s)) for start_s, end_s in (one.spoken_s for one in utterances)]
        took_s = time.perf_counter() - started
        self.compute_s += took_s
        return [
            Heard(command, start_s, end_s, self.audio_s + took_s - end_s)
            for command, (start_s, end_s) in zip(commands, spoken_s, strict=True)
        ]

    def _levels_db(self, samples: np.ndarray, count: int) -> np.ndarray:
        """(count,) power of the sound at each frame that has become final, dB below full scale."""
        size = round(self.recogniser.frame_s * self.stream.sampling_rate)
        sound = np.concatenate([self._sound, samples])
        frames, self._sound = sound[: count * size], sound[count * size :]
        frames = np.pad(frames, (0, count * size - len(frames))).reshape(count, size)
        return 10 * np.log10(np.square(frames, dtype=np.float64).mean(axis=1) + 1e-12)


def file_pieces(path: Path, sampling_rate: int, piece_s: float, realtime: bool = False) -> Iterator[np.ndarray]:
    """
    A recording in pieces of `piece_s`, (n,) float32; with `realtime` each comes when a microphone would give it.

    Raises:
        AudioError, ImportError: see `read_blocks`.
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
    What the default microphone hears, without end, in pieces of `piece_s`, (n,) float32.

    Raises:
        ImportError: sounddevice or PortAudio is not installed.
        ValueError: no microphone, or none that records at this rate.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: without PortAudio
        raise ImportError(
            f"no microphone without sounddevice and PortAudio ({error}): pip install sounddevice, and on Debian or "
            "Ubuntu apt install libportaudio2"
        ) from None
    size = max(round(piece_s * sampling_rate), 1)
    try:
        with sounddevice.InputStream(sampling_rate, size, channels=1, dtype="float32") as microphone:
            while True:
                samples, overflowed = microphone.read(size)
                if overflowed:
                    logger.warning("the microphone's sound came faster than it was heard: some of it is lost")
                yield samples[:, 0].copy()
    except sounddevice.PortAudioError as error:
        raise ValueError(
            f"the microphone cannot be opened at {sampling_rate} Hz: {error}; python -m sounddevice lists the devices"
        ) from error


def recognise(
    model: DeepSpeech2ForCTC,
    processor: DeepSpeech2Processor,
    grammar: str | Path,
    recording: str | Path,
    acceptance: str | Path | None = None,
) -> Command:
    """
    Recognise the voice command of a recording of up to a minute.

    Args:
        model: as `load_model` returns it. It runs on its device and is put in evaluation mode.
        processor: the model's.
        grammar: YAML file of the commands.
        recording: a file: WAV, FLAC, Ogg or MP3. With PyAV anything that FFmpeg reads.
        acceptance: commands.json, as recipes/commands/calibrate.py writes it (default: a rough threshold).

    Returns:
        The likeliest command with its values and confidence, and whether it is accepted.

    Raises:
        AudioError: the file is missing, is no recording, or is damaged.
        ValueError: the grammar or the commands.json has a fault.
    """
    recogniser = load_recogniser(model, processor, Path(grammar), Path(acceptance) if acceptance else None)
    return recognise_recording(Listener(model.eval(), processor), recogniser, Path(recording))
