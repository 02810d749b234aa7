"""
Recognise voice commands in recordings, and print each command, its slots, its confidence and its latency.

    deepspeech2 recognise MODEL home.yaml command.wav other.flac
    deepspeech2 recognise MODEL home.yaml *.wav --json --acceptance outputs/commands/commands.json

Each file is one utterance of up to a minute. For longer recordings, use `deepspeech2 listen`. A file that cannot be
read is named and skipped, and the exit status is then 1.
"""

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from statistics import median

from ..config.options import add_compute_options, add_model_argument, add_recording_argument


def configure(parser: ArgumentParser) -> None:
    add_model_argument(parser)
    parser.add_argument("grammar", type=Path, metavar="GRAMMAR", help="YAML file of the commands to recognise")
    add_recording_argument(parser, "files", "+")
    add_acceptance_option(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object for each file")
    add_compute_options(parser, batches=False)


def add_acceptance_option(parser: ArgumentParser) -> None:
    """Add the option of the rejection threshold."""
    parser.add_argument(
        "--acceptance",
        type=Path,
        metavar="FILE",
        help="commands.json with the rejection threshold, from recipes/commands/calibrate.py (default: a rough one)",
    )


def main(args: Namespace) -> int:
    from ..data.audio.recordings import AudioError
    from ..inference.long_form import Listener
    from ..inference.voice_commands.listening import recognise_recording
    from ..inference.voice_commands.recognition import load_recogniser
    from ..model.loading import load_model
    from ..system.devices import set_up_process

    device = set_up_process(args, num_workers=0)
    model, processor = load_model(args.model)
    recogniser = load_recogniser(model, processor, args.grammar, args.acceptance)
    listener = Listener(model.eval().to(device), processor)
    latencies_ms, failed = [], False
    for file in args.files:
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
