"""
Measure what recordings of commands add to a model that was trained from the grammar alone.

    python benchmarks/intent_folds.py outputs/from_grammar --recordings coffee_commands --noise kitchen.ogg

The recordings are divided into --folds parts. For each part, and each of --counts, the model is trained on with so many
of the other recordings, by `recipes/finetune.py recipes/commands/from_grammar.yaml --dataset_name`, and recognises the
part, as in intent.py. The recordings are labelled with what they mean, not with words. So their transcripts are the
likeliest sentences with that meaning. Parts that are done are not trained again. fold.json beside each model says what
it was made with, and other values are refused. The table is in outputs/benchmarks/intent_folds.md.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile
from intent import RATIOS_DB, Bench, Order, is_right, likeliest_text, load_orders, outcome, recognise_all, stretch
from measuring import write_table

from deepspeech2.data.audio.recordings import open_audio
from deepspeech2.inference.long_form import Listener
from deepspeech2.inference.voice_commands.recognition import CommandRecogniser, find_commands, load_recogniser
from deepspeech2.model.loading import load_model
from deepspeech2.system.devices import set_up_cpu
from deepspeech2.system.files import write_whole

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "outputs" / "benchmarks" / "intent_folds.md"
COLUMNS = ("right and accepted", "likeliest is right")


def transcribe(orders: Sequence[Order], listener: Listener, recogniser: CommandRecogniser) -> dict[str, str]:
    """Return the likeliest sentence with the meaning of each order, by name. Orders outside the grammar have none."""
    found = {order.name: likeliest_text(order, listener, recogniser)[0] for order in orders}
    return {name: text for name, text in found.items() if text is not None}


def divide(orders: Sequence[Order], folds: int, seed: int) -> Iterator[tuple[list[Order], list[Order]]]:
    """Yield each part of the orders, and the others in random order."""
    places = np.random.default_rng(seed).permutation(len(orders))
    for fold in range(folds):
        part = set(places[fold::folds].tolist())
        yield [orders[place] for place in sorted(part)], [orders[place] for place in places if place not in part]


def write_recordings(orders: Sequence[Order], texts: Mapping[str, str], rate: int, folder: Path) -> None:
    """Write recordings with their transcripts, as `--dataset_name` reads them, and remove earlier ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in folder.glob("*.wav"):
        earlier.unlink()
    lines = ["file_name,text"]
    for order in orders:
        name = f"{Path(order.name).stem}.wav"
        soundfile.write(folder / name, order.samples, rate)
        lines.append(f"{name},{texts[order.name]}")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def claim(folder: Path, facts: Mapping[str, object]) -> None:
    """
    Note what the model of a fold is made with, in its fold.json.

    Raises:
        ValueError: the folder has a model that was made with something else.
    """
    path, made = folder / "fold.json", json.loads(json.dumps(facts))
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    changed = [name for name, value in made.items() if before.get(name) != value]
    if changed and (folder / "model").exists():
        raise ValueError(
            f"{folder} has a model that was made with other values of {', '.join(changed)} (see {path.name}); expected "
            "those of this command. Give the earlier ones, remove the folder, or name another --output_dir"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(made, indent=1, ensure_ascii=False))


def train(model: str, grammar: Path, recordings: Path, output: Path, settings: Sequence[str]) -> None:
    """Train the model on with recordings, unless `output` has the result."""
    if (output / "commands.json").is_file():
        return
    command = [sys.executable, str(ROOT / "recipes" / "finetune.py"), str(ROOT / "recipes/commands/from_grammar.yaml")]
    options = ["--grammar", str(grammar), "--model_name_or_path", model, "--dataset_name", str(recordings)]
    options += ["--output_dir", str(output), "--eval_strategy", "no", "--load_best_model_at_end", "false"]
    subprocess.run([*command, *options, *settings], check=True)


def score(model: str, orders: Sequence[Order], noises: Sequence[np.ndarray]) -> dict[str, list[tuple[bool, bool]]]:
    """Return for each ratio, and each order, whether it is right and accepted, and whether the likeliest is right."""
    loaded, processor = load_model(model)
    recogniser = load_recogniser(loaded, processor, *find_commands(model, None, None))
    bench = Bench(Listener(loaded.eval(), processor), recogniser)
    return {
        ratio: [
            (outcome(order, one) == COLUMNS[0], is_right(order, one)) for order, one in zip(orders, some, strict=True)
        ]
        for ratio, some in recognise_all(bench, orders, noises).items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="FOLDER", help="model that was trained from a grammar")
    parser.add_argument("--recordings", type=Path, required=True, help="folder with labels.json and the recordings")
    parser.add_argument("--noise", type=Path, required=True, help="recording of noise")
    parser.add_argument("--counts", type=int, nargs="+", default=[20, 60], help="how many recordings (default: 20 60)")
    parser.add_argument("--folds", type=int, default=5, help="parts of the recordings (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the parts and of the places of noise")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "outputs" / "folds", help="folder of the models")
    args, settings = parser.parse_known_args()
    set_up_cpu(1)
    model, processor = load_model(args.model)
    grammar, acceptance = find_commands(args.model, None, None)
    recogniser = load_recogniser(model, processor, grammar, acceptance)
    listener = Listener(model.eval(), processor)
    rate = listener.sampling_rate
    orders = load_orders(args.recordings, rate)
    texts = transcribe(orders, listener, recogniser)
    print(f"{len(texts)} of {len(orders)} recordings have a sentence with their meaning", file=sys.stderr)
    noise, rng = open_audio({"bytes": None, "path": str(args.noise)}, rate), np.random.default_rng(args.seed)
    noises = {order.name: stretch(noise, len(order.samples), rng) for order in orders}
    with Path(args.model, "model.safetensors").open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    given = {name: getattr(args, name) for name in ("model", "folds", "seed")}
    given |= {"weights": weights, "recordings": str(args.recordings), "settings": settings}
    found = {0: [score(args.model, orders, list(noises.values()))]}
    for fold, (part, others) in enumerate(divide(orders, args.folds, args.seed)):
        usable = [order for order in others if order.name in texts]
        for count in args.counts:
            folder = args.output_dir / f"fold-{fold}" / str(count)
            trained_on = {order.name: texts[order.name] for order in usable[:count]}
            claim(folder, given | {"trained on": trained_on, "tested on": [order.name for order in part]})
            write_recordings(usable[:count], texts, rate, folder / "recordings")
            train(args.model, grammar, folder / "recordings", folder / "model", settings)
            scored = score(str(folder / "model"), part, [noises[order.name] for order in part])
            found.setdefault(count, []).append(scored)
            print(f"fold {fold + 1} of {args.folds}, {count} recordings: scored", file=sys.stderr, flush=True)
    rows = []
    for count, folds in found.items():
        means = {
            ratio: 100 * np.mean([one for fold in folds for one in fold[ratio]], axis=0)
            for ratio in map(str, ("none", *RATIOS_DB))
        }
        noisy = np.mean([means[str(ratio)] for ratio in RATIOS_DB], axis=0)
        for column, name in enumerate(COLUMNS):
            rows.append([count, name, *(f"{one[column]:.1f}" for one in means.values()), f"{noisy[column]:.1f}"])
    write_table(["recordings", "%", "none", *map(str, RATIOS_DB), "mean, 6 to 24"], rows, OUTPUT)


if __name__ == "__main__":
    main()
