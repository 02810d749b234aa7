"""
Time the start of a training: the first batch by size of the corpus, and `accelerate launch` to the first step.

    python benchmarks/startup.py
    python benchmarks/startup.py --sizes 1000 100000 --repeats 1

The corpora are 0.2 s clips in Parquet files of at most 5,000 rows, with row groups of 1,000. They are written once
(2 GB in total), and the page cache may hold them. The first batch is timed from opening the corpus, in one process per
case, including the planning of the training. Memory is the peak above the memory of the imports and the model. The
first step is timed with recipes/librispeech/mini.yaml on the smallest corpus, and ends after the optimizer step.
Everything uses one thread.
"""

import argparse
import io
import json
import runpy
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

STARTED = time.time()  # the timing of a launch includes the imports
# ruff: noqa: E402
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from measuring import in_a_process, median, peak_memory_mb, rounds, write_table

ROOT = Path(__file__).parents[1]
OUTPUTS = ROOT / "outputs" / "benchmarks"
MINI, FINETUNE = ROOT / "recipes" / "librispeech" / "mini.yaml", ROOT / "recipes" / "finetune.py"
ACCELERATE = [str(Path(sys.executable).with_name("accelerate")), "launch"]
RATE, CLIP_S = 16_000, 0.2
WORDS_HZ = {"yes": 300, "no": 500, "go": 700, "up": 900}
NUM_SPEAKERS, MIN_SHARDS, SHARD_ROWS, GROUP_ROWS = 50, 8, 5_000, 1_000
# The moments of a launch, and the stage that ends at each of them.
STAGES = {
    "launched": "",
    "started": "imports of accelerate launch",
    "imported": "imports of recipes/finetune.py",
    "first_batch": "arguments, corpus, model, Trainer, first batch",
    "first_step": "first step",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [10**power for power in range(2, 7)]
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=sizes, help="numbers of utterances (default: 100 to 1000000)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="number of rounds (default: %(default)s)")
    parser.add_argument("--case", type=Path, metavar="FOLDER", help="measure only the first batch of this corpus")
    parser.add_argument("--seed", type=int, default=1, help="seed for --case (default: %(default)s)")
    parser.add_argument("--first_step", nargs=argparse.REMAINDER, help="measure only a launch: its time, then a recipe")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args.case, args.seed)))
        return
    if args.first_step:
        first_step(float(args.first_step[0]), STARTED, args.first_step[1:])
        return
    folders = {size: OUTPUTS / "corpora" / str(size) for size in args.sizes}
    for size, folder in folders.items():
        write_corpus(folder, size)
        write_scored(folder)
    results = rounds(__file__, {str(size): ["--case", str(folder)] for size, folder in folders.items()}, args.repeats)
    rows = [
        [f"{int(size):,}", f"{median(own, 'seconds'):.2f}", f"{median(own, 'peak_mb'):,.0f}"]
        for size, own in results.items()
    ]
    write_table(["utterances", "s to the first batch", "MB"], rows, OUTPUTS / "startup.md")
    launches = [launch(folders[min(folders)]) for _ in range(args.repeats)]
    write_table(["from `accelerate launch` to the first step", "s"], in_stages(launches), OUTPUTS / "first_step.md")


def write_corpus(folder: Path, count: int) -> None:
    """Write `count` clips of four tones as the split `train` in the Hub's layout, unless they exist."""
    if folder.is_dir():
        return
    part = folder.with_name(f"{folder.name}.part") / "train"
    part.mkdir(parents=True, exist_ok=True)
    words, clips = pa.array(WORDS_HZ), pa.array(map(encode, WORDS_HZ.values()), pa.binary())
    num_shards = max(MIN_SHARDS, -(-count // SHARD_ROWS))
    for shard, rows in enumerate(np.array_split(np.arange(count), num_shards)):
        which = pa.array(rows % len(WORDS_HZ))
        ids = pa.array([f"utterance-{row:07d}" for row in rows])
        columns = {
            "audio": pa.StructArray.from_arrays([clips.take(which), ids], ["bytes", "path"]),
            "text": words.take(which),
            "speaker_id": pa.array(rows % NUM_SPEAKERS),
            "id": ids,
        }
        # Without compression and dictionaries every clip needs space of its own, like real clips.
        path = part / f"{shard:04d}.parquet"
        pq.write_table(pa.table(columns), path, GROUP_ROWS, compression="none", use_dictionary=False)
    part.parent.rename(folder)


def write_scored(folder: Path) -> None:
    """Write the split `validation`: other tones and speakers, because a run refuses to score its training clips."""
    (folder / "validation").mkdir(exist_ok=True)
    rows = [
        {"audio": {"bytes": encode(hertz + 50), "path": word}, "text": word, "speaker_id": f"new-{word}", "id": word}
        for word, hertz in WORDS_HZ.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "validation" / "0000.parquet")


def encode(hertz: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(CLIP_S * RATE)) / RATE), RATE, format="FLAC")
    return file.getvalue()


def of_corpus(folder: Path, output_dir: str) -> list[str]:
    """Return the arguments of recipes/finetune.py for a corpus: mini.yaml and its changes."""
    options = {"dataset_name": folder, "dataset_config": "-", "output_dir": output_dir}
    options |= {"train_split": "train", "eval_split": "validation", "test_split": "validation"}
    return [str(MINI), *(word for name, value in options.items() for word in (f"--{name}", str(value)))]


def measure(folder: Path, seed: int) -> dict:
    """Measure the first batch of a training with mini.yaml, in this process."""
    # Imported here, because --first_step times the imports.
    from deepspeech2.config.parser import parse_recipe
    from deepspeech2.data.splits import Speech, load_train_corpora
    from deepspeech2.data.streams import build_loader
    from deepspeech2.training.plan import plan_training
    from deepspeech2.training.start import Run, build_model

    with tempfile.TemporaryDirectory() as output_dir:
        words = [*of_corpus(folder, output_dir), "--seed", str(seed)]
        recipe = parse_recipe(words, MINI)
        built = build_model(recipe.model, [])
        held_mb = psutil.Process().memory_info().rss / 2**20
        started = time.perf_counter()
        plan = plan_training(Run(recipe, Speech(load_train_corpora(recipe.data)), *built))
        batch = next(iter(build_loader(plan.stream, num_workers=0)))
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_mb": peak_memory_mb() - held_mb, "clips": len(batch["ids"])}


def launch(folder: Path) -> dict:
    """Launch a training with mini.yaml, and return the time of each stage, in seconds since 1970."""
    print(f"launching on {folder}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as output_dir:
        config = ["--config_file", str(ROOT / "accelerate_configs" / "cpu.yaml")]
        words = [*ACCELERATE[1:], *config, __file__, "--first_step", str(time.time()), *of_corpus(folder, output_dir)]
        return in_a_process(ACCELERATE[0], words)


def first_step(launched: float, started: float, argv: Sequence[str], script: Path = FINETUNE) -> None:
    """
    Run main(argv) of a script up to the first optimizer step.

    Print the moments of STAGES as JSON, and end the process.
    """
    main = runpy.run_path(str(script))["main"]
    times = {"launched": launched, "started": started, "imported": time.time()}
    from torch.nn.modules.module import register_module_forward_pre_hook
    from torch.optim.optimizer import register_optimizer_step_post_hook

    def note_batch(*_: object) -> None:
        times.setdefault("first_batch", time.time())

    def end(*_: object) -> None:
        print(json.dumps(times | {"first_step": time.time()}), flush=True)
        sys.exit()

    with register_module_forward_pre_hook(note_batch), register_optimizer_step_post_hook(end):
        main(list(argv))


def in_stages(launches: Sequence[dict]) -> list[list[str]]:
    """Return a row for each stage and for the total: median (shortest-longest)."""
    moments = list(STAGES)
    spans = {STAGES[end]: (start, end) for start, end in pairwise(moments)}
    spans |= {"all imports": ("launched", "imported"), "whole": (moments[0], moments[-1])}
    rows = []
    for name, (start, end) in spans.items():
        seconds = sorted(launch[end] - launch[start] for launch in launches)
        rows.append([name, f"{statistics.median(seconds):.1f} ({seconds[0]:.1f}-{seconds[-1]:.1f})"])
    return rows


if __name__ == "__main__":
    main()
