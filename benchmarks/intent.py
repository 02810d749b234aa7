"""
Recognise spoken orders in noise, as Picovoice's speech-to-intent benchmark does, and compare with published figures.

    python benchmarks/intent.py outputs/commands --recordings coffee_commands --noise kitchen.ogg
    python benchmarks/intent.py MODEL --grammar recipes/commands/coffee.yaml --recordings coffee_commands \\
        --noise kitchen.ogg --other librispeech_mini::clean/validation

RECORDINGS is a folder with labels.json (file name -> {"command", "slots"}) and the files below it. Without --grammar,
the grammar and the rejection threshold are those of the folder of the model, which may be an export to ONNX. Each order
is recognised without noise and at 6, 9, ..., 24 dB. The noise begins at a place that is drawn from --seed, the same for
every ratio. An order is right if its command and all slots are, and it is accepted. Near misses are the orders whose
meaning is in the grammar, without noise, each time with one of their slot values removed from it. The latency is the
CPU time from the end of the recording, on one thread. The results are in outputs/benchmarks/intent.md, .json and .png.
"""

import argparse
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from measuring import write_table

from deepspeech2.data.audio.recordings import open_audio
from deepspeech2.data.grammars.grammar import AnyOrder, Choice, Grammar, Part, Row, Slot, Value, leaves
from deepspeech2.data.splits import load_other_split
from deepspeech2.inference.long_form import Listener
from deepspeech2.inference.onnx_model import find_graph, load_listener
from deepspeech2.inference.voice_commands.recognition import Command, CommandRecogniser, find_commands, load_recogniser
from deepspeech2.inference.voice_commands.rejection import near_misses
from deepspeech2.inference.voice_commands.utterances import command_log_probs, recognise_samples
from deepspeech2.system.devices import set_up_cpu

OUTPUT = Path(__file__).parents[1] / "outputs" / "benchmarks" / "intent"
RATIOS_DB = (6, 9, 12, 15, 18, 21, 24)
FRAME = 2048  # samples
# Accuracy in % with the benchmark's kitchen noise: at 6 dB, and the mean of all ratios. Picovoice publishes them with
# the benchmark (github.com/Picovoice/speech-to-intent-benchmark).
PUBLISHED = {
    "Google Dialogflow": (70, 78.9),
    "Amazon Lex": (80, 85.4),
    "IBM Watson": (72, 89.1),
    "Microsoft LUIS": (86, 90.6),
    "Picovoice Rhino": (96, 98.1),
}
OUTCOMES = ("right and accepted", "likeliest is right", "rejected", "accepted, wrong command", "accepted, wrong slots")


@dataclass(frozen=True)
class Order:
    """A recording, float32 (N,), and what it means."""

    name: str
    samples: np.ndarray
    command: str
    slots: Mapping[str, Value]


def loudest_frame(samples: np.ndarray) -> float:
    """Return the largest mean power of a frame of 2,048 samples. Frames do not overlap, and a rest is left out."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    return float(np.square(frames, dtype=np.float64).mean(axis=1).max())


def mix(speech: np.ndarray, noise: np.ndarray, ratio_db: float) -> np.ndarray:
    """
    Add noise of the same length, so that the loudest frame of the speech is `ratio_db` above that of the noise. Then
    divide by twice the peak, as the benchmark does.
    """
    scale = np.sqrt(loudest_frame(speech) / loudest_frame(noise) * 10 ** (-ratio_db / 10))
    mixed = speech + np.float32(scale) * noise
    return mixed / (2 * np.abs(mixed).max())


def stretch(noise: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return `size` samples from a random place of the noise, which is repeated if it is shorter."""
    noise = np.resize(noise, max(size, len(noise)))
    start = int(rng.integers(len(noise) - size + 1))
    return noise[start : start + size]


def outcome(order: Order, command: Command) -> str:
    """Return what became of an order."""
    if not command.accepted:
        return "rejected"
    if command.name != order.command:
        return "accepted, wrong command"
    return "right and accepted" if is_right(order, command) else "accepted, wrong slots"


def is_right(order: Order, command: Command) -> bool:
    """Whether the likeliest sentence has the command and all slots of the order."""
    return (command.best, dict(command.slots)) == (order.command, dict(order.slots))


def shares(orders: Sequence[Order], commands: Sequence[Command]) -> dict[str, float]:
    """Return the share of each outcome in %, and of orders whose likeliest sentence is right."""
    found = [outcome(order, one) for order, one in zip(orders, commands, strict=True)]
    counts = {name: found.count(name) for name in OUTCOMES}
    counts["likeliest is right"] = sum(map(is_right, orders, commands))
    return {name: 100 * count / len(orders) for name, count in counts.items()}


def load_orders(folder: Path, rate: int) -> list[Order]:
    """Read the orders of a folder in the order of their names."""
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    files = {path.name: path for path in folder.rglob("*") if path.name in labels}
    if missing := sorted(labels.keys() - files.keys()):
        raise ValueError(f"{folder} lacks {len(missing)} recordings of labels.json: {', '.join(missing[:3])}, ...")
    return [
        Order(name, open_audio({"bytes": None, "path": str(files[name])}, rate), label["command"], label["slots"])
        for name, label in sorted(labels.items())
    ]


def with_meaning(grammar: Grammar, command: str, slots: Mapping[str, Value]) -> Grammar | None:
    """Return the part of a grammar whose sentences mean this, or None. No slot may be in a sentence twice."""
    if command not in grammar.commands or not slots.keys() <= grammar.slots.keys():
        return None
    part = _only(grammar.commands[command], set(slots))
    said = {name: {words: one for words, one in grammar.slots[name].items() if one == slots[name]} for name in slots}
    if part is None or _slots(part) != set(slots) or not all(said.values()):
        return None
    return Grammar({command: part}, said)


def _slots(part: Part) -> set[str]:
    return {leaf.name for leaf in leaves(part) if isinstance(leaf, Slot)}


def _only(part: Part, wanted: set[str]) -> Part | None:
    """Return the sentences of a part without other slots than the wanted ones, and with as many of those as it can."""
    if isinstance(part, Row | AnyOrder):
        parts = [_only(one, wanted) for one in part.parts]
        return None if None in parts else type(part)(tuple(one for one in parts if one is not None))
    if isinstance(part, Choice):
        weighted = [(_only(one, wanted), weight) for one, weight in zip(part.options, part.weights, strict=True)]
        possible = [(one, weight) for one, weight in weighted if one is not None]
        most = max((len(_slots(one)) for one, _ in possible), default=0)
        fullest = [(one, weight) for one, weight in possible if len(_slots(one)) == most]
        return Choice(*zip(*fullest, strict=True)) if fullest else None
    return None if isinstance(part, Slot) and part.name not in wanted else part


def likeliest_text(order: Order, listener: Listener, recogniser: CommandRecogniser) -> tuple[str | None, np.ndarray]:
    """
    Return the likeliest sentence with the meaning of an order, and its log-probabilities (T', V). An order is labelled
    with its meaning, not with its words. If the grammar lacks that meaning, the sentence is None.
    """
    log_probs, _ = command_log_probs(listener, recogniser, order.samples)
    if part := with_meaning(recogniser.grammar, order.command, order.slots):
        command = recogniser.with_grammar(part).recognise(log_probs)
        if dict(command.slots) == dict(order.slots):
            return command.text, log_probs
    return None, log_probs


class Bench:
    """A recogniser on one thread, which notes how long it takes."""

    def __init__(self, listener: Listener, recogniser: CommandRecogniser) -> None:
        self.listener, self.recogniser = listener, recogniser
        self.latencies_s: list[float] = []
        self.audio_s = 0.0

    def recognise(self, samples: np.ndarray) -> Command:
        started = time.process_time()
        command = recognise_samples(self.listener, self.recogniser, samples)
        self.latencies_s.append(time.process_time() - started)
        self.audio_s += len(samples) / self.listener.sampling_rate
        return command

    def near_misses(self, orders: Iterable[Order]) -> list[Command]:
        """Recognise each order whose meaning is in the grammar with grammars that lack one of its values."""
        texts = ((order.name, *likeliest_text(order, self.listener, self.recogniser)) for order in orders)
        spoken = ((name, text, log_probs) for name, text, log_probs in texts if text is not None)
        return [one.command for one in near_misses(self.recogniser, spoken)]


def recognise_all(bench: Bench, orders: Sequence[Order], noises: Sequence[np.ndarray] = ()) -> dict[str, list[Command]]:
    """Recognise the orders without noise and, if there are noises of their lengths, at each ratio; by ratio."""
    commands = {"none": [bench.recognise(order.samples) for order in orders]}
    for ratio in RATIOS_DB if noises else ():
        mixed = (mix(order.samples, own, ratio) for order, own in zip(orders, noises, strict=True))
        commands[str(ratio)] = [bench.recognise(samples) for samples in mixed]
    return commands


def file_size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def accepted(commands: Sequence[Command]) -> str:
    count = sum(one.accepted for one in commands)
    return f"{count} of {len(commands)}: {100 * count / max(len(commands), 1):.1f} %"


def curve(by_ratio: dict[str, dict[str, float]], path: Path) -> None:
    """Plot the accuracy over the ratio, with the published means."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name in OUTCOMES[:2]:
        axes.plot(RATIOS_DB, [by_ratio[str(ratio)][name] for ratio in RATIOS_DB], marker="o", label=name)
    for name, (_, mean) in PUBLISHED.items():
        axes.axhline(mean, linewidth=0.8, linestyle=":", color="grey")
        axes.annotate(f"{name}, mean", (RATIOS_DB[-1], mean), fontsize=7, ha="right", va="bottom")
    axes.set(xlabel="signal-to-noise ratio in dB, loudest frames", ylabel="orders in %")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150, bbox_inches="tight")
    pyplot.close(figure)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="FOLDER", help="folder of a model, if possible with grammar and threshold")
    parser.add_argument("--recordings", type=Path, required=True, help="folder with labels.json and the recordings")
    parser.add_argument("--noise", type=Path, help="recording of noise (default: only without noise)")
    parser.add_argument("--grammar", type=Path, help="grammar (default: that of the folder of the model)")
    parser.add_argument("--acceptance", type=Path, help="commands.json (default: that of the folder of the model)")
    parser.add_argument(
        "--other", nargs="+", default=[], metavar="DATASET::SPLIT", help="splits of speech that must be rejected"
    )
    parser.add_argument("--every", type=int, default=1, help="use every Nth order, by name (default: 1, all of them)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the places of noise (default: 0)")
    return parser


def main() -> None:
    args = make_parser().parse_args()
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    set_up_cpu(1)
    graph = find_graph(args.model)
    folder = graph.parent if graph else Path(args.model)
    grammar, acceptance = find_commands(str(folder), args.grammar, args.acceptance)
    listener = load_listener(args.model, graph, threads=1)
    bench = Bench(listener, load_recogniser(listener.model, listener.processor, grammar, acceptance))
    rate = bench.listener.sampling_rate
    orders = load_orders(args.recordings, rate)[:: args.every]
    noises = []
    if args.noise:
        noise, rng = open_audio({"bytes": None, "path": str(args.noise)}, rate), np.random.default_rng(args.seed)
        noises = [stretch(noise, len(order.samples), rng) for order in orders]
    by_ratio = {ratio: shares(orders, some) for ratio, some in recognise_all(bench, orders, noises).items()}
    facts = {
        "latency in ms, median": round(1000 * median(bench.latencies_s), 1),
        "share of a core": round(sum(bench.latencies_s) / bench.audio_s, 4),
        "model and grammar in MB": round(
            sum(map(file_size, (graph or folder / "model.safetensors", grammar))) / 1e6, 2
        ),
        "near misses, accepted": accepted(bench.near_misses(orders)),
    }
    for name in args.other:
        other = [open_audio(row["audio"], rate) for corpus in load_other_split(name) for row in corpus.stream]
        facts[f"other speech, accepted ({Path(name).name})"] = accepted([bench.recognise(samples) for samples in other])
    rows = [[ratio, *(f"{found[name]:.1f}" for name in OUTCOMES)] for ratio, found in by_ratio.items()]
    if args.noise:
        means = {name: float(np.mean([by_ratio[str(ratio)][name] for ratio in RATIOS_DB])) for name in OUTCOMES}
        by_ratio["mean"] = means
        rows.append(["mean, 6 to 24", *(f"{means[name]:.1f}" for name in OUTCOMES)])
        curve(by_ratio, OUTPUT.with_suffix(".png"))
    write_table(["SNR in dB", *(f"{name}, %" for name in OUTCOMES)], rows, OUTPUT.with_suffix(".md"))
    print()
    write_table(["published", "at 6 dB, %", "mean, 6 to 24 dB, %"], [[name, *both] for name, both in PUBLISHED.items()])
    print("", *(f"{name}: {value}" for name, value in facts.items()), sep="\n")
    OUTPUT.with_suffix(".json").write_text(json.dumps({"by_ratio": by_ratio} | facts, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
