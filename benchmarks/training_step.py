"""
Time a training step on a CPU against the plain implementation: packed LSTMs, masks clip by clip, random batches.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --sizes 3x512 --repeats 5 --batches 4

Both make SGD steps on batches of 8 clips. Each round draws new durations from the distribution of LibriSpeech. The
plain implementation takes the clips in their given order, and this package groups clips of similar length in a window
of 512. Each has one thread, and they take turns. The spectrograms are random, which does not change the amount of
arithmetic. Peak memory is that of the process, and includes the batch with the longest clip.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measuring import cpu_seconds, draw_durations_s, median, peak_memory_mb, ratios, rounds, write_table
from plain import PlainDeepSpeech2, pad

from deepspeech2.data.batching import cut_batches
from deepspeech2.model.configuration_deepspeech2 import DeepSpeech2Config
from deepspeech2.model.modeling_deepspeech2 import DeepSpeech2ForCTC
from deepspeech2.system.devices import set_up_cpu

BATCH_SIZE, WINDOW_SIZE, VOCAB_SIZE = 8, 512, 29
FRAMES_PER_S, CHARACTERS_PER_S = 100, 14
OUTPUT = Path(__file__).parents[1] / "outputs" / "benchmarks" / "training_step.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["3x512", "5x1024"], help="layers x units (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="number of rounds (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=2, help="measured batches per round (default: %(default)s)")
    parser.add_argument("--case", nargs=2, metavar=("SIZE", "WAY"), help="measure only one case: 3x512 plain")
    parser.add_argument("--seed", type=int, default=1, help="seed for --case (default: %(default)s)")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(*args.case, args.seed, args.batches)))
        return
    rows = []
    for size in args.sizes:
        cases = {way: ["--case", size, way, "--batches", str(args.batches)] for way in WAYS}
        results = rounds(__file__, cases, args.repeats)
        for way in WAYS:
            own, plain = results[way], results["plain"]
            rows.append(
                [
                    size,
                    way,
                    f"{median(own, 'audio_s_per_cpu_s'):.2f}",
                    ratios(own, plain, "audio_s_per_cpu_s"),
                    f"{median(own, 'peak_mb'):,.0f}",
                    ratios(own, plain, "peak_mb"),
                ]
            )
    write_table(["size", "system", "audio-s per CPU-s", "times plain", "peak MB", "times plain"], rows, OUTPUT)


def new_model(size: str) -> DeepSpeech2ForCTC:
    """Build a model with random weights from "LAYERSxUNITS", with the convolutions of deepspeech.pytorch."""
    layers, units = map(int, size.split("x"))
    torch.manual_seed(0)
    return DeepSpeech2ForCTC(
        DeepSpeech2Config(vocab_size=VOCAB_SIZE, num_features=161, num_hidden_layers=layers, hidden_size=units)
    )


def measure(size: str, way: str, seed: int, num_batches: int) -> dict:
    """Measure the steps of one system, after a warm-up step on two short clips."""
    if way == "this":
        set_up_cpu(threads=1)
    durations_s = draw_durations_s(WINDOW_SIZE, seed)
    step = WAYS[way](new_model(size))
    step([1.0, 1.0])
    batches = choose(durations_s, way, num_batches)
    started = time.perf_counter()
    used = cpu_seconds(lambda: [step(batch) for batch in batches])
    audio_s = sum(map(sum, batches))
    return {
        "audio_s_per_cpu_s": audio_s / used,
        "audio_s_per_s": audio_s / (time.perf_counter() - started),
        "peak_mb": peak_memory_mb(),
    }


def choose(durations_s: list[float], way: str, count: int) -> list[list[float]]:
    """Choose the batch with the longest clip, and others spread evenly over the window."""
    if way == "plain":
        places = [list(range(first, first + BATCH_SIZE)) for first in range(0, len(durations_s), BATCH_SIZE)]
    else:
        places = cut_batches(durations_s, batch_seconds=None, batch_size=BATCH_SIZE)
    batches = sorted(([durations_s[place] for place in batch] for batch in places), key=max)
    return [batches[round((share + 1) / count * len(batches)) - 1] for share in range(count)]


def make_clips(durations_s: list[float]) -> tuple[list[np.ndarray], list[torch.Tensor]]:
    """Return a random spectrogram and random labels for each clip."""
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal((int(s * FRAMES_PER_S) + 1, 161), dtype=np.float32) for s in durations_s]
    labels = [torch.from_numpy(rng.integers(1, VOCAB_SIZE, int(s * CHARACTERS_PER_S))) for s in durations_s]
    return clips, labels


def plain_way(model: DeepSpeech2ForCTC) -> Callable[[list[float]], None]:
    plain = PlainDeepSpeech2(model).train()
    optimizer = new_optimizer(model)

    def step(durations_s: list[float]) -> None:
        clips, labels = make_clips(sorted(durations_s, reverse=True))
        optimizer.zero_grad()
        plain.loss(*pad(clips), labels).backward()
        optimizer.step()

    return step


def this_way(model: DeepSpeech2ForCTC) -> Callable[[list[float]], None]:
    model.train()
    optimizer = new_optimizer(model)

    def step(durations_s: list[float]) -> None:
        clips, labels = make_clips(durations_s)
        features = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(clip) for clip in clips], batch_first=True)
        lengths = torch.tensor([len(clip) for clip in clips])
        mask = (torch.arange(features.shape[1]) < lengths[:, None]).long()
        targets = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
        optimizer.zero_grad()
        model(features, mask, labels=targets).loss.backward()
        optimizer.step()

    return step


def new_optimizer(model: DeepSpeech2ForCTC) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, nesterov=True)


WAYS = {"plain": plain_way, "this": this_way}

if __name__ == "__main__":
    main()
