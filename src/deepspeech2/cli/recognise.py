"""
Recognise voice commands in recordings, and print each command, its slots, its confidence and its latency.

    deepspeech2 recognise outputs/from_grammar command.wav
    deepspeech2 recognise MODEL home.yaml command.wav other.flac
    deepspeech2 recognise MODEL home.yaml *.wav --json --acceptance outputs/commands/commands.json
    deepspeech2 recognise outputs/onnx command.wav

Without a grammar, the grammar and the rejection threshold are those in the folder of the model. The folder of
`deepspeech2 export` (outputs/onnx) starts in about a second, because ONNX needs no PyTorch. Each file is one utterance
of up to a minute. For longer recordings, use `deepspeech2 listen`. A file that cannot be read is named and skipped, and
the exit status is then 1.
"""

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from ..config.options import add_compute_options, add_model_argument, add_recording_argument

if TYPE_CHECKING:
    from ..inference.long_form import Listener


def configure(parser: ArgumentParser) -> None:
    add_model_argument(parser)
    add_grammar_argument(parser)
    add_recording_argument(parser, "files", "*")
    add_acceptance_option(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object for each file")
    add_compute_options(parser, batches=False)


def add_grammar_argument(parser: ArgumentParser) -> None:
    """Add the positional argument of a grammar that can be left out."""
    parser.add_argument(
        "grammar",
        nargs="?",
        type=Path,
        metavar="GRAMMAR",
        help="YAML file of the commands to recognise (default: grammar.yaml in the folder of the model)",
    )


def split_grammar(given: Path | None, files: Sequence[Path]) -> tuple[Path | None, list[Path]]:
    """Return the grammar and the recordings. What is in the place of the grammar may be the first recording."""
    if given is None or given.suffix.lower() in (".yaml", ".yml"):
        return given, list(files)
    return None, [given, *files]


def add_acceptance_option(parser: ArgumentParser) -> None:
    """Add the option of the rejection threshold."""
    parser.add_argument(
        "--acceptance",
        type=Path,
        metavar="FILE",
        help="commands.json with the rejection threshold, from recipes/commands/calibrate.py (default: that beside the "
        "grammar of the model, else a rough one)",
    )


def main(args: Namespace) -> int:
    from ..data.audio.recordings import AudioError
    from ..inference.onnx_model import find_graph
    from ..inference.voice_commands.recognition import find_commands, load_recogniser
    from ..inference.voice_commands.utterances import recognise_recording

    given, files = split_grammar(args.grammar, args.files)
    if not files:
        raise ValueError("there is no recording; name one or more after the model and the grammar")
    graph = find_graph(args.model)
    listener = _load(args, graph)
    commands = find_commands(listener.model.name_or_path, given, args.acceptance)
    recogniser = load_recogniser(listener.model, listener.processor, *commands)
    latencies_ms, failed = [], False
    for file in files:
        started = time.perf_counter()
        try:
            command = recognise_recording(listener, recogniser, file)
        except AudioError as error:
            print(f"{file}: SKIPPED, {error}", file=sys.stderr)
            failed = True
            continue
        latencies_ms.append(1e3 * (time.perf_counter() - started))
        if args.json:
            print(json.dumps({"file": str(file), **command.to_dict(), "latency_ms": round(latencies_ms[-1], 1)}))
        else:
            print(f"{file}: {command} [{latencies_ms[-1]:.0f} ms]")
    if len(latencies_ms) > 1 and not args.json:
        print(f"{len(latencies_ms)} files, median {median(latencies_ms):.0f} ms, longest {max(latencies_ms):.0f} ms")
    return int(failed)


def _load(args: Namespace, graph: Path | None) -> "Listener":
    """Set up the process for a graph or for PyTorch, and load the model."""
    from ..inference.onnx_model import load_listener, refuse_device
    from ..system.command_line import set_up_log
    from ..system.devices import count_threads, set_up_process

    if graph:
        refuse_device(graph, args.device)
        set_up_log()
        return load_listener(args.model, graph, threads=count_threads(args.cpu_threads))
    return load_listener(args.model, None, set_up_process(args, num_workers=0))
