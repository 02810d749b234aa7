"""
Recognises voice commands in recordings: which one, with which values, how sure, and how long it took.

    python recipes/commands/recognise.py MODEL recipes/commands/home.yaml command.wav other.flac
    python recipes/commands/recognise.py MODEL recipes/commands/home.yaml *.wav --json \
        --acceptance outputs/commands/commands.json

Each file is one utterance of up to a minute; listen.py finds those of a longer recording. One that cannot be read is
named and skipped, and the status is 1 at the end.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median

from deepspeech2.data.recordings import AudioError
from deepspeech2.inference.long_form import Listener
from deepspeech2.inference.voice_commands.listening import recognise_recording
from deepspeech2.inference.voice_commands.recognition import load_recogniser
from deepspeech2.model.loading import load_model
from deepspeech2.system.command_line import end_run, set_up_log
from deepspeech2.system.devices import set_up_cpu


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipes/commands/recognise.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a checkpoint, or its id on the Hub")
    parser.add_argument("grammar", type=Path, metavar="GRAMMAR", help="YAML file of the commands")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="anything with sound that FFmpeg reads")
    parser.add_argument(
        "--acceptance", type=Path, metavar="commands.json", help="of calibrate.py (default: a rough threshold)"
    )
    parser.add_argument("--json", action="store_true", help="a JSON object for each file instead of a line")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    set_up_log()
    set_up_cpu(1)
    model, processor = load_model(args.model)
    recogniser = load_recogniser(model, processor, args.grammar, args.acceptance)
    listener = Listener(model.eval(), processor)
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


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyboardInterrupt, ValueError, OSError, ImportError) as error:
        end_run("recognise.py", error)
