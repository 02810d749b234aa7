"""
Measure a data stream: the padding in its batches, and how long processes wait for data and for each other.

    python benchmarks/streaming.py
    python benchmarks/streaming.py LIBRISPEECH --utterances 1308 --batches 120

Padding is the share of feature frames after the end of their clips. The benchmark compares batches from windows of 512
utterances with random batches of 8, as in the plain implementation. It uses durations drawn like those of LibriSpeech.
With LIBRISPEECH, a folder in the layout of openslr/librispeech_asr, it also reads clean/train.100 as training does.

At each step all processes wait for the slowest one. The balance is the time of a step of one process, as a mean over
all, divided by that of the slowest. It is given for steps that take as long as their longest clip (GPUs compute frame
after frame) and for steps that take as long as their padded seconds (CPUs). If each process shuffles its batches, that
is one order. The other is that of `draw_order`, with the same length quantiles on all processes.

Waiting for data is measured on the same speech, with the model, batches, augmentation and data worker of
recipes/librispeech/mini.yaml. The steps have one thread and the worker another. A window has about 115 batches, so more
batches also include the reading of the next window.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from measuring import draw_durations_s, write_table

from deepspeech2.config.parser import parse_recipe
from deepspeech2.data.batching import Batching, cut_batches, draw_order
from deepspeech2.data.corpora import load_corpus
from deepspeech2.data.preparation import Examples, Filters
from deepspeech2.data.splits import Speech, load_train_corpora
from deepspeech2.data.streams import SpeechStream, build_loader
from deepspeech2.training.plan import build_train_stream
from deepspeech2.training.start import Run, build_model

ROOT = Path(__file__).parents[1]
OUTPUTS = ROOT / "outputs" / "benchmarks"
MINI = ROOT / "recipes" / "librispeech" / "mini.yaml"
WINDOW_SIZE, PLAIN_BATCH_SIZE, DRAWN_WINDOWS = 512, 8, 20
BALANCED = [(2, 60, 512), (8, 320, 512), (8, 640, 1024), (64, 640, 1024)]  # processes, batch_seconds, window_size
FRAMES_PER_S = 100
WAYS: dict[str, dict[str, float | None]] = {
    "45 s": {"batch_seconds": 45, "batch_size": None},
    "320 s": {"batch_seconds": 320, "batch_size": None},
    "8 clips": {"batch_seconds": None, "batch_size": 8},
}
PLAIN = f"{PLAIN_BATCH_SIZE} random clips"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", metavar="LIBRISPEECH", help="a folder with real speech")
    parser.add_argument("--utterances", type=int, default=5120, help="most utterances to pad (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=120, help="batches to train on (default: %(default)s)")
    args = parser.parse_args()
    shares = {"drawn durations": padding_of_drawn(DRAWN_WINDOWS)}
    if args.folder:
        shares[Path(args.folder).name] = padding_of_corpus(args.folder, "clean", "train.100", args.utterances)
    rows = [[way, *(f"{own[way]:.1%}" for own in shares.values())] for way in (*WAYS, PLAIN)]
    write_table(["batches of", *(f"padding, {name}" for name in shares)], rows, OUTPUTS / "padding.md")
    rows = []
    for processes, batch_seconds, window_size in BALANCED:
        shares_kept = [balance(processes, batch_seconds, window_size, shared) for shared in (False, True)]
        both = [f"{alone:.3f} -> {shared:.3f}" for alone, shared in zip(*shares_kept, strict=True)]
        rows.append([processes, batch_seconds, window_size, *both])
    head = ["processes", "batch_seconds", "window_size", "balance of longest clips", "of padded seconds"]
    write_table(head, rows, OUTPUTS / "balance.md")
    if args.folder:
        waits_s, steps_s, audio_s = wait_and_step(args.folder, args.batches)
        total_s = sum(waits_s) + sum(steps_s)
        row = [args.batches, f"{audio_s / total_s:.0f}", f"{sum(waits_s) / total_s:.2%}", f"{max(waits_s):.2f}"]
        write_table(["batches", "audio-s per s", "time waiting", "longest wait, s"], [row], OUTPUTS / "waiting.md")


def padding(batches: Iterable[list[int]]) -> float:
    """Return the share of padding frames, given the frames of each clip in each batch."""
    batches = list(batches)
    frames = sum(max(batch) * len(batch) for batch in batches)
    return 1 - sum(map(sum, batches)) / frames


def random_batches(frames: list[int]) -> Iterator[list[int]]:
    order = np.random.default_rng(0).permutation(len(frames)).tolist()
    for first in range(0, len(order), PLAIN_BATCH_SIZE):
        yield [frames[place] for place in order[first : first + PLAIN_BATCH_SIZE]]


def padding_of_drawn(num_windows: int) -> dict[str, float]:
    """Return the padding of each kind of batch, over windows of durations drawn like those of LibriSpeech."""
    windows = [draw_durations_s(WINDOW_SIZE, seed) for seed in range(num_windows)]
    shares = {}
    for way, limits in WAYS.items():
        batches = []
        for seed, durations_s in enumerate(windows):
            for places in cut_batches(durations_s, **limits, rng=np.random.default_rng(seed)):
                batches.append([to_frames(durations_s[place]) for place in places])
        shares[way] = padding(batches)
    return shares | {PLAIN: padding(random_batches([to_frames(s) for s in itertools.chain(*windows)]))}


def balance(processes: int, batch_seconds: float, window_size: int, shared: bool) -> list[float]:
    """Return the balance of the longest clips and of the padded seconds, in a `shared` order of lengths or not."""
    sizes: list[list[tuple[float, float]]] = []
    for process in range(processes):
        rng = np.random.default_rng(process)
        sizes.append([])
        for window in range(DRAWN_WINDOWS):
            durations_s = draw_durations_s(window_size, process * DRAWN_WINDOWS + window)
            batches = cut_batches(durations_s, batch_seconds=batch_seconds, batch_size=None, rng=rng)
            count, drawn = len(batches), len(sizes[-1])
            for place in draw_order(count, drawn, 0.0) if shared else rng.permutation(count):
                longest_s = max(durations_s[clip] for clip in batches[place])
                sizes[-1].append((longest_s, longest_s * len(batches[place])))
    steps = min(map(len, sizes))
    of_steps = np.array([one[:steps] for one in sizes])
    return (of_steps.mean(0).sum(0) / of_steps.max(0).sum(0)).tolist()


def to_frames(duration_s: float) -> int:
    return int(duration_s * FRAMES_PER_S) + 1


def padding_of_corpus(name: str, config: str | None, split: str, max_utterances: int) -> dict[str, float]:
    """Return the padding of each kind of batch, over the first epoch of a stream or `max_utterances`."""
    corpora = load_corpus(name, config, split)
    model, processor = build_model(parse_recipe([str(MINI), "--dataset_name", name], MINI).model, [])
    extractor = processor.feature_extractor

    def output_frames(num_samples: int) -> int:
        return model.config.lengths_after_each_conv(extractor.get_num_frames(num_samples))[-1]

    count = min(max_utterances, *(corpus.num_examples or max_utterances for corpus in corpora))
    shares = {}
    for way, limits in WAYS.items():
        examples = Examples(processor, Filters(output_frames))
        stream = SpeechStream(corpora, None, examples, Batching(**limits, window_size=WINDOW_SIZE), seed=1)
        batches = list(frames_of(stream, count))
        shares[way] = padding(batches)
    return shares | {PLAIN: padding(random_batches(list(itertools.chain(*batches))))}


def frames_of(stream: Iterable[dict], num_utterances: int) -> Iterator[list[int]]:
    """Yield the frames of the clips of each batch, until `num_utterances` were read."""
    seen = 0
    for batch in stream:
        yield batch["attention_mask"].sum(1).tolist()
        seen += len(batch["ids"])
        if seen >= num_utterances:
            return


def wait_and_step(name: str, num_batches: int, num_warm: int = 3) -> tuple[list[float], list[float], float]:
    """Return the waiting time and step time of each batch of mini.yaml after a warm-up, and the seconds of audio."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        words = [str(MINI), "--dataset_name", name, "--output_dir", folder, "--use_cpu", "true"]
        recipe = parse_recipe(words, MINI)
        training = recipe.training
        model, processor = build_model(recipe.model, [])
        stream = build_train_stream(Run(recipe, Speech(load_train_corpora(recipe.data)), model, processor))
        optimizer = torch.optim.AdamW(model.train().parameters(), lr=training.learning_rate)
        batches = iter(build_loader(stream, training.dataloader_num_workers))
        waits_s, steps_s, audio_s = [], [], 0.0
        for index in range(num_warm + num_batches):
            asked = time.perf_counter()
            batch = next(batches)
            came = time.perf_counter()
            step(model, optimizer, batch, training.max_grad_norm)
            if index >= num_warm:
                waits_s.append(came - asked)
                steps_s.append(time.perf_counter() - came)
                audio_s += sum(batch["durations_s"])
    return waits_s, steps_s, audio_s


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: dict, max_grad_norm: float) -> None:
    optimizer.zero_grad()
    model(batch["input_features"], batch["attention_mask"], labels=batch["labels"]).loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()


if __name__ == "__main__":
    main()
