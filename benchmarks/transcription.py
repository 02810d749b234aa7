"""
Time greedy transcription on a CPU against the plain implementation: librosa, packed LSTMs, a loop over the labels.

    python benchmarks/transcription.py
    python benchmarks/transcription.py --sizes 5x1024 --clips 16

The benchmark times the path from samples to text, with random weights and random clips. Each round draws new durations
from the distribution of LibriSpeech. Clips are transcribed one by one and in batches of 8. The plain implementation
batches them in their given order, and this package by similar length. This package runs with PyTorch and as an ONNX
export. Each case has one thread, and the cases take turns.

`recipes/score.py` measures the speed of a real checkpoint on a real split. `deepspeech2 export` measures the speed of
its exports and the WER of int8.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from measuring import draw_durations_s, median, peak_memory_mb, ratios, rounds, write_table
from plain import PlainDeepSpeech2, pad, plain_spectrogram
from training_step import new_model

from deepspeech2.data.batching import cut_batches
from deepspeech2.model.feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor
from deepspeech2.model.onnx_export import FILES, FP32, INT8, OnnxModel, export_onnx
from deepspeech2.model.processing_deepspeech2 import DeepSpeech2Processor
from deepspeech2.system.devices import set_up_cpu

OUTPUT = Path(__file__).parents[1] / "outputs" / "benchmarks" / "transcription.md"
RATE, BATCH_SIZE = 16_000, 8
LABELS = "_'ABCDEFGHIJKLMNOPQRSTUVWXYZ "
ENGINES = ("this", FP32, INT8)
WAYS = (
    "plain, one by one",
    *(f"{engine}, one by one" for engine in ENGINES),
    "plain, batches of 8",
    *(f"{engine}, batches of 8" for engine in ENGINES),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["3x512", "5x1024"], help="layers x units (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="number of rounds (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=24, help="clips per round (default: %(default)s)")
    parser.add_argument("--case", nargs=2, metavar=("SIZE", "WAY"), help='measure one case: 3x512 "plain, one by one"')
    parser.add_argument("--seed", type=int, default=1, help="seed for --case (default: %(default)s)")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(*args.case, args.seed, args.clips)))
        return
    rows = []
    for size in args.sizes:
        shutil.rmtree(export_folder(size), ignore_errors=True)
        with ProcessPoolExecutor(1, get_context("spawn")) as other:  # children inherit the peak memory
            other.submit(export, size).result()
        cases = {way: ["--case", size, way, "--clips", str(args.clips)] for way in WAYS}
        results = rounds(__file__, cases, args.repeats)
        for way, own in results.items():
            baseline = results["plain, " + way.split(", ")[1]]
            row = [size, way, f"{median(own, 'audio_s_per_cpu_s'):.1f}", ratios(own, baseline, "audio_s_per_cpu_s")]
            rows.append([*row, f"{median(own, 'peak_mb'):,.0f}"])
    write_table(["size", "system", "audio-s per CPU-s", "times plain", "peak MB"], rows, OUTPUT)


@torch.inference_mode()
def measure(size: str, way: str, seed: int, num_clips: int) -> dict:
    """Measure the transcription of some clips with one system, after a short warm-up clip."""
    rng = np.random.default_rng(seed)
    durations_s = draw_durations_s(num_clips, seed)
    clips = [rng.standard_normal(int(s * RATE), dtype=np.float32) * 0.05 for s in durations_s]
    engine = way.split(",")[0]
    if engine != "plain":
        set_up_cpu(threads=1)
    transcribe = plain_way(size) if engine == "plain" else this_way(size, engine)
    transcribe(clips[:1])
    started = time.process_time()
    texts = [text for batch in cut(durations_s, way) for text in transcribe([clips[place] for place in batch])]
    return {
        "audio_s_per_cpu_s": sum(durations_s) / (time.process_time() - started),
        "peak_mb": peak_memory_mb(),
        "texts": len(texts),
    }


def cut(durations_s: list[float], way: str) -> list[list[int]]:
    """Return the indices of the clips of each batch."""
    if way.endswith("one by one"):
        return [[place] for place in range(len(durations_s))]
    if way.startswith("plain"):
        places = list(range(len(durations_s)))
        return [places[first : first + BATCH_SIZE] for first in range(0, len(places), BATCH_SIZE)]
    return cut_batches(durations_s, batch_seconds=None, batch_size=BATCH_SIZE)


def plain_way(size: str) -> Callable[[list[np.ndarray]], list[str]]:
    """Return a function that gives texts in the order of decreasing length, as deepspeech.pytorch does."""
    model = PlainDeepSpeech2(new_model(size)).eval()

    def transcribe(clips: list[np.ndarray]) -> list[str]:
        log_probs, lengths = model(*pad([plain_spectrogram(clip) for clip in clips]))
        return [plain_text(log_probs[:length, i].argmax(-1)) for i, length in enumerate(lengths.tolist())]

    return transcribe


def plain_text(ids: torch.Tensor) -> str:
    text, before = "", 0
    for label in ids:
        if label != before and label != 0:
            text += LABELS[int(label)]
        before = int(label)
    return text


def this_way(size: str, engine: str) -> Callable[[list[np.ndarray]], list[str]]:
    model = new_model(size).eval() if engine == "this" else OnnxModel(export_folder(size) / FILES[engine])
    processor = new_processor()

    def transcribe(clips: list[np.ndarray]) -> list[str]:
        inputs = processor.feature_extractor(clips, sampling_rate=RATE, return_tensors="pt")
        return processor.batch_decode(model(**inputs).logits.argmax(-1))

    return transcribe


def export_folder(size: str) -> Path:
    return OUTPUT.parent / f"transcription-{size}"


def export(size: str) -> None:
    export_onnx(new_model(size).eval(), new_processor(), export_folder(size))


def new_processor() -> DeepSpeech2Processor:
    return DeepSpeech2Processor(DeepSpeech2FeatureExtractor(), DeepSpeech2Processor.build_tokenizer(LABELS[1:]))


if __name__ == "__main__":
    main()
