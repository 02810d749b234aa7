"""Recognise the voice command in a recording of one utterance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...data.augmentation import trim
from ..long_form import Listener
from ..media import read_utterance
from .recognition import Command, CommandRecogniser, load_recogniser

if TYPE_CHECKING:
    from ...model.modeling_deepspeech2 import DeepSpeech2ForCTC
    from ...model.processing_deepspeech2 import DeepSpeech2Processor


def recognise_recording(listener: Listener, recogniser: CommandRecogniser, path: Path) -> Command:
    """
    Recognise the command in a recording of up to a minute.

    Raises:
        AudioError: see `read_utterance`.
    """
    samples = np.concatenate([*read_utterance(path, listener.sampling_rate), np.zeros(0, np.float32)])
    return recognise_samples(listener, recogniser, samples)


def recognise_samples(listener: Listener, recogniser: CommandRecogniser, samples: np.ndarray) -> Command:
    """Recognise the command in float32 samples (N,) at the model's rate."""
    log_probs, cut_s = command_log_probs(listener, recogniser, samples)
    command = recogniser.recognise(log_probs)
    return replace(command, start_s=command.start_s + cut_s, end_s=command.end_s + cut_s) if command.best else command


def command_log_probs(
    listener: Listener, recogniser: CommandRecogniser, samples: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the log-probabilities (T, V) of samples (N,), and the seconds of silence that were cut off before them."""
    cut_s = 0.0
    if recogniser.trims:
        samples, cut_s = trim(samples, listener.sampling_rate)
    return listener.whole([samples]), cut_s


def recognise(
    model: DeepSpeech2ForCTC,
    processor: DeepSpeech2Processor,
    grammar: str | Path,
    recording: str | Path,
    acceptance: str | Path | None = None,
) -> Command:
    """
    Recognise the voice command in a recording of up to a minute.

    Args:
        model: the model, from `load_model`. It is put in evaluation mode and stays on its device.
        processor: the processor of the model.
        grammar: path of a YAML grammar.
        recording: path of the recording: WAV, FLAC, Ogg or MP3. With PyAV everything that FFmpeg reads.
        acceptance: path of a commands.json from recipes/commands/calibrate.py (default: a rough threshold).

    Returns:
        The most likely command with its slots and confidence, and whether it is accepted.

    Raises:
        AudioError: the file does not exist, is not a recording, is damaged, or is longer than a minute.
        ValueError: the grammar or the commands.json is wrong.
    """
    recogniser = load_recogniser(model, processor, Path(grammar), Path(acceptance) if acceptance else None)
    return recognise_recording(Listener(model.eval(), processor), recogniser, Path(recording))
