"""The corpus of a telephone among recordings of noise."""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import soxr
from corpora import SAMPLING_RATE, TELEPHONE_RATE, Clip, write_split

from deepspeech2.data.audio.recordings import AUDIO_SUFFIXES, open_audio
from deepspeech2.data.augmentation import add_noise


def read_noise(folder: Path) -> list[np.ndarray]:
    """Return the recordings of a folder, each float32 (N,) at 16 kHz, in the order of their names."""
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in AUDIO_SUFFIXES]
    if not paths:
        raise ValueError(f"{folder} has no recordings of noise; expected files such as kitchen.ogg")
    return [open_audio({"bytes": None, "path": str(path)}, SAMPLING_RATE) for path in paths]


def draw_noise(noises: list[np.ndarray], size: int, seed: int, part: int) -> np.ndarray:
    """
    Draw a stretch of one of the recordings.

    Args:
        noises: recordings, each (N,).
        size: samples of the stretch. A recording that is shorter repeats.
        seed: the seed of the draw.
        part: 0 draws from the first halves of the recordings, 1 from the second halves.
    """
    rng = np.random.default_rng(seed)
    noise = noises[rng.integers(len(noises))]
    half = noise[noise.size // 2 :] if part else noise[: noise.size // 2]
    return np.resize(np.roll(half, -rng.integers(half.size)), size)


def telephone(samples: np.ndarray) -> np.ndarray:
    """
    Simulate a telephone line: 16 kHz -> 8 kHz, 300 to 3400 Hz (the band of ITU-T G.712). The file adds u-law (G.711).

    Args:
        samples: float32 (N,) in [-1, 1].
    """
    try:
        from scipy.signal import butter, sosfilt
    except ModuleNotFoundError as error:
        raise ImportError(f"{error}; a telephone line needs SciPy: pip install -e '.[adaptation]'") from None
    band = butter(4, [300, 3400], "bandpass", fs=TELEPHONE_RATE, output="sos")
    narrow = sosfilt(band, soxr.resample(samples, SAMPLING_RATE, TELEPHONE_RATE))
    return narrow * min(1.0, 0.99 / np.abs(narrow).max())


def write_telephone(
    splits: Mapping[str, Iterable[Clip]], folder: Path, noises: list[np.ndarray], snr_db: float
) -> None:
    """
    Write the clips of each split over a telephone line from noisy places.

    Args:
        splits: the clips of the splits train and test.
        folder: the folder of the corpus. A split that exists is kept.
        noises: recordings of noise, float32 (N,) at 16 kHz. The first half of each is for train, the second for test.
        snr_db: signal-to-noise ratio. The id of a clip seeds its noise.
    """
    for split, clips in splits.items():
        write_split(folder, split, _lines(clips, noises, snr_db, int(split == "test")), TELEPHONE_RATE, "ULAW")


def _lines(clips: Iterable[Clip], noises: list[np.ndarray], snr_db: float, part: int) -> Iterator[Clip]:
    for samples, row in clips:
        noise = draw_noise(noises, samples.size, zlib.crc32(row["id"].encode()), part)
        yield telephone(add_noise(samples, noise, snr_db)), row
