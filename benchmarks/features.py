"""
Time feature extraction against a plain implementation, which computes spectrograms with librosa, file by file.

    python benchmarks/features.py

Both decode 16-bit FLAC files with the durations of LibriSpeech. Each has one thread, and they take turns. The benchmark
times all the work of a data worker for a batch, without augmentation and with that of recipes/librispeech/mini.yaml.
It also times the parts separately.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
import yaml
from measuring import draw_durations_s, write_table
from plain import pad, plain_features, plain_spectrogram

from deepspeech2.config.arguments import AugmentationArguments
from deepspeech2.data.audio.recordings import open_audio
from deepspeech2.data.augmentation import Augmentation
from deepspeech2.model.feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "outputs" / "benchmarks" / "features.md"
RATE = 16_000
BATCH_SIZE = 8
MEL = {"features": "mel", "feature_size": 80, "n_fft": 512, "win_length": 400, "normalization": "bin"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=48, help="number of files (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=7, help="number of rounds (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        durations_s = draw_durations_s(args.clips, seed=1)
        paths = write_clips(Path(folder), durations_s)
        ways = make_ways(paths)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for round_ in range(args.repeats + 1):
            for name, way in ways.items():
                started = time.process_time()
                way()
                if round_:
                    times[name].append(time.process_time() - started)
    rows = []
    for name, own in times.items():
        baseline = times["plain spectra" if name in ("plain spectra", "spectra") else "plain"]
        ratios = sorted(plain / mine for plain, mine in zip(baseline, own, strict=True))
        speed = sum(durations_s) / statistics.median(own)
        ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
        rows.append([LABELS[name], f"{speed:,.0f}", ratio])
    write_table(["system", "audio-s per CPU-s", "times plain"], rows, OUTPUT)


LABELS = {
    "plain": "plain: librosa file by file, padded",
    "same": "this: the same features, in batches of 8",
    "mel": "this: 80 mel bins, in batches of 8",
    "augmented": "this: 80 mel bins, with all augmentation",
    "decoding": "decoding the files alone",
    "plain spectra": "plain, from samples",
    "spectra": "this: the same features from samples",
}


def write_clips(folder: Path, durations_s: list[float]) -> list[Path]:
    """Write noise with a varying level, as FLAC files."""
    rng = np.random.default_rng(0)
    paths = []
    for index, duration_s in enumerate(durations_s):
        samples = rng.standard_normal(int(duration_s * RATE)) * 0.05
        samples *= np.sin(np.pi * np.arange(samples.size) / RATE)
        paths.append(folder / f"{index}.flac")
        soundfile.write(paths[-1], samples, RATE)
    return paths


def make_ways(paths: list[Path]) -> dict[str, Callable[[], object]]:
    linear, mel = DeepSpeech2FeatureExtractor(), DeepSpeech2FeatureExtractor(**MEL)
    recipe = yaml.safe_load((ROOT / "recipes" / "librispeech" / "mini.yaml").read_text(encoding="utf-8"))
    names = AugmentationArguments.__dataclass_fields__
    arguments = AugmentationArguments(**{name: value for name, value in recipe.items() if name in names})
    augmentation = Augmentation(arguments, RATE, mel.bin_frequencies_hz)
    decoded = [open_audio(recording(path), RATE) for path in paths]

    def in_batches(function: Callable[[list], object], items: list) -> None:
        for first in range(0, len(items), BATCH_SIZE):
            function(items[first : first + BATCH_SIZE])

    def plain(batch: list[Path]) -> None:
        pad([plain_features(str(path)) for path in batch])

    def extract(extractor: DeepSpeech2FeatureExtractor, clips: list[np.ndarray]) -> torch.Tensor:
        return extractor(clips, sampling_rate=RATE, return_tensors="pt")["input_features"]

    def augmented(batch: list[Path]) -> None:
        rng = np.random.default_rng(0)
        clips = [
            augmentation.waveform(open_audio(recording(path), RATE), rng, augmentation.speed_factor(rng))
            for path in batch
        ]
        for features in extract(mel, clips):
            augmentation.features(features.numpy(), rng)

    def whole(extractor: DeepSpeech2FeatureExtractor) -> Callable[[list[Path]], object]:
        return lambda batch: extract(extractor, [open_audio(recording(path), RATE) for path in batch])

    return {
        "plain": lambda: in_batches(plain, paths),
        "same": lambda: in_batches(whole(linear), paths),
        "mel": lambda: in_batches(whole(mel), paths),
        "augmented": lambda: in_batches(augmented, paths),
        "decoding": lambda: [open_audio(recording(path), RATE) for path in paths],
        "plain spectra": lambda: in_batches(lambda clips: pad([plain_spectrogram(clip) for clip in clips]), decoded),
        "spectra": lambda: in_batches(lambda clips: extract(linear, clips), decoded),
    }


def recording(path: Path) -> dict:
    return {"bytes": None, "path": str(path)}


if __name__ == "__main__":
    main()
