"""Recordings of noise: those of a folder that can be read, and a piece of one from a random place."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .audio.recordings import AUDIO_SUFFIXES, AudioError, open_audio, read_header

logger = logging.getLogger(__name__)

NUM_NAMED = 5
TRIED_S = 4.0  # of each file, decoded at the start
LONGEST_NOISE_S = 1e6  # pieces are read, so that a file may be long


def find_audio_files(folder: Path) -> list[Path]:
    """Return the audio files under `folder`, sorted. Raises ValueError if there are none."""
    if not folder.is_dir():
        raise ValueError(f"noise_folder {str(folder)!r} is not a folder; expected one, or '' for generated noise")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise ValueError(
            f"noise_folder {str(folder)!r} holds no audio file; expected files that end in {', '.join(AUDIO_SUFFIXES)}"
        )
    return files


def open_noise_files(folder: Path) -> list[Path]:
    """
    Return the audio files under `folder` that can be read, sorted. A warning names the others.

    Raises:
        ValueError: there are none.
    """
    usable, faults = [], []
    for path in find_audio_files(folder):
        try:
            header = read_header(_noise(path), LONGEST_NOISE_S)
            open_audio(_noise(path) | {"end_s": min(header.duration_s, TRIED_S)}, header.sampling_rate)
            usable.append(path)
        except AudioError as error:
            faults.append(str(error))
    if faults:
        shown = _shown(faults)
        if not usable:
            raise ValueError(f"noise_folder {str(folder)!r} holds no audio file that can be read:{shown}")
        logger.warning("%d of %d noise files are left out:%s", len(faults), len(faults) + len(usable), shown)
    return usable


def _shown(faults: Sequence[str]) -> str:
    more = [f"and {len(faults) - NUM_NAMED} more"] if len(faults) > NUM_NAMED else []
    return "".join(f"\n  {line}" for line in [*faults[:NUM_NAMED], *more])


def _noise(path: Path) -> dict[str, Any]:
    return {"bytes": None, "path": str(path)}


def read_noise(path: Path, num_samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """
    Return `num_samples` from a random place of a noise file, which is repeated if it is shorter.

    Raises:
        AudioError: the file cannot be read there.
    """
    header = read_header(_noise(path), LONGEST_NOISE_S)
    rate = header.sampling_rate
    needed = int(np.ceil(num_samples * rate / sampling_rate)) + 1
    start = int(rng.integers(max(header.num_samples - needed, 0) + 1))
    end = min(start + needed, header.num_samples)
    noise = open_audio(_noise(path) | {"start_s": start / rate, "end_s": end / rate}, sampling_rate)
    return np.resize(noise, num_samples)
