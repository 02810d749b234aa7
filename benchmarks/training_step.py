"""
Time a training step on a CPU against the plain implementation, each of its parts by itself, on the same clips.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --sizes 3x512 --repeats 5 --batches 4

| part | what differs |
|---|---|
| one batch | packed LSTMs and masks clip by clip (`plain.py`), or this model. The same batch of 8 clips, small pages |
| batches | this model, the same clips in random batches of 8, or with neighbours in length. Small pages |
| pages | this model, batches of neighbours, small or large pages |
| all | plain on random batches with small pages, or this model with both. The same clips |

The one batch has eight clips at even shares of LibriSpeech's durations, at a quarter, half and all of their length. The
clips of the other parts are `--batches` times 8, drawn anew in each round. All steps are SGD steps with one thread.
Every case is a process of its own, and the cases take turns. Times are seconds of the CPU: beside other work the ratios
within a round mean more than the seconds. "In the system" is the time of page faults. The spectrograms are random,
which does not change the amount of arithmetic.
"""

import argparse
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measuring import DECILES_S, draw_durations_s, median, peak_memory_mb, ratios, rounds, write_table
from plain import PlainDeepSpeech2, pad

from deepspeech2.data.batching import cut_batches
from deepspeech2.model.configuration_deepspeech2 import DeepSpeech2Config
from deepspeech2.model.modeling_deepspeech2 import DeepSpeech2ForCTC
from deepspeech2.system.devices import set_up_cpu

BATCH_SIZE, VOCAB_SIZE = 8, 29
FRAMES_PER_S, CHARACTERS_PER_S = 100, 14
OUTPUT = Path(__file__).parents[1] / "outputs" / "benchmarks" / "training_step.md"
LENGTHS = ("0.25", "0.5", "1")  # factors of the durations of the one batch
# A case is a model, the batches of its clips, and its pages.
PARTS = {f"one batch, lengths x {x}": (("plain", x, "small"), ("this", x, "small")) for x in LENGTHS} | {
    "batches": (("this", "random", "small"), ("this", "neighbours", "small")),
    "pages": (("this", "neighbours", "small"), ("this", "neighbours", "large")),
    "all": (("plain", "random", "small"), ("this", "neighbours", "large")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["3x512", "5x1024"], help="layers x units (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="number of rounds (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=3, help="batches of 8 clips per round (default: %(default)s)")
    parser.add_argument(
        "--parts", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART", help="parts (default: all)"
    )
    parser.add_argument("--case", nargs=4, help="measure one case: SIZE, WAY, BATCHES and PAGES")
    parser.add_argument("--seed", type=int, default=1, help="seed for --case (default: %(default)s)")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(*args.case, args.seed, args.batches)))
        return
    rows = []
    for size in args.sizes:
        wanted = dict.fromkeys(case for part in args.parts for case in PARTS[part])
        cases = {" ".join(case): ["--case", size, *case, "--batches", str(args.batches)] for case in wanted}
        results = rounds(__file__, cases, args.repeats)
        for part in args.parts:
            before, after = (results[" ".join(case)] for case in PARTS[part])
            rows.append(
                [
                    size,
                    part,
                    f"{median(before, 'audio_s'):.0f}",
                    *(f"{median(found, 'cpu_s'):.1f} ({median(found, 'system_s'):.1f})" for found in (before, after)),
                    ratios(before, after, "cpu_s"),
                    ratios(after, before, "peak_mb"),
                ]
            )
    columns = ["before", "after", "before / after", "peak memory, after / before"]
    write_table(["size", "part", "s of audio", *columns], rows, OUTPUT)
    print("before, after: CPU-s (of them in the system). Medians of the rounds, and the lowest and highest ratio.")


def new_model(size: str) -> DeepSpeech2ForCTC:
    """Build a model with random weights from "LAYERSxUNITS", with the convolutions of deepspeech.pytorch."""
    layers, units = map(int, size.split("x"))
    torch.manual_seed(0)
    return DeepSpeech2ForCTC(
        DeepSpeech2Config(vocab_size=VOCAB_SIZE, num_features=161, num_hidden_layers=layers, hidden_size=units)
    )


def measure(size: str, way: str, order: str, pages: str, seed: int, num_batches: int) -> dict:
    """Measure the steps of one case, after a warm-up step on two short clips."""
    os.environ["THP_MEM_ALLOC_ENABLE"] = str(int(pages == "large"))  # torch reads it at its first large tensor
    set_up_cpu(threads=1)
    step = WAYS[way](new_model(size))
    step([1.0, 1.0])
    batches = choose(order, seed, num_batches)
    before = resource.getrusage(resource.RUSAGE_SELF)
    for batch in batches:
        step(batch)
    after = resource.getrusage(resource.RUSAGE_SELF)
    system_s = after.ru_stime - before.ru_stime
    return {
        "audio_s": sum(map(sum, batches)),
        "cpu_s": after.ru_utime - before.ru_utime + system_s,
        "system_s": system_s,
        "peak_mb": peak_memory_mb(),
    }


def choose(order: str, seed: int, num_batches: int) -> list[list[float]]:
    """
    Return the durations in seconds of each batch.

    `order` is a factor for the one batch, or "random" or "neighbours". The last two have the same clips.
    """
    if order in LENGTHS:
        shares = (np.arange(BATCH_SIZE) + 0.5) / BATCH_SIZE
        return [(float(order) * np.interp(shares, np.linspace(0, 1, len(DECILES_S)), DECILES_S)).tolist()]
    durations_s = draw_durations_s(BATCH_SIZE * num_batches, seed)
    if order == "random":
        places = np.arange(len(durations_s)).reshape(num_batches, BATCH_SIZE).tolist()
    else:
        places = cut_batches(durations_s, batch_seconds=None, batch_size=BATCH_SIZE)
    return [[durations_s[place] for place in batch] for batch in places]


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
