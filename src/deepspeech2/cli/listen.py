"""
Listens to a microphone, or to a recording as to one, and prints each voice command as soon as it is over.

    python recipes/commands/listen.py MODEL recipes/commands/home.yaml --microphone
    python recipes/commands/listen.py MODEL recipes/commands/home.yaml evening.wav --chunk_ms 50 --realtime
    python recipes/commands/listen.py MODEL recipes/commands/home.yaml evening.wav --json \
        --acceptance outputs/commands/commands.json

MODEL is a unidirectional one, as recipes/commands/streaming.yaml trains it. A line has where in the sound the command
was, its slots, its confidence, and how long after its last letter it was known.
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import median

from deepspeech2.inference.streaming import Stream
from deepspeech2.inference.voice_commands.listening import CommandListener, file_pieces, microphone_pieces
from deepspeech2.inference.voice_commands.recognition import load_recogniser
from deepspeech2.model.loading import load_model
from deepspeech2.system.command_line import end_run, set_up_log
from deepspeech2.system.devices import set_up_cpu


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipes/commands/listen.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a checkpoint, or its id on the Hub")
    parser.add_argument("grammar", type=Path, metavar="GRAMMAR", help="YAML file of the commands")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("file", nargs="?", type=Path, metavar="FILE", help="anything with sound that FFmpeg reads")
    source.add_argument("--microphone", action="store_true", help="the default one, until Ctrl-C")
    parser.add_argument("--chunk_ms", type=float, default=100.0, help="sound taken at once (default: %(default)s)")
    parser.add_argument("--realtime", action="store_true", help="take a file no faster than it was spoken")
    parser.add_argument("--silence_s", type=float, default=0.5, help="pause that ends a command (default: %(default)s)")
    parser.add_argument(
        "--longest_s", type=float, default=15.0, help="what is longer is cut at a pause (default: %(default)s)"
    )
    parser.add_argument(
        "--acceptance", type=Path, metavar="commands.json", help="of calibrate.py (default: a rough threshold)"
    )
    parser.add_argument("--json", action="store_true", help="a JSON object for each command instead of a line")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    if args.chunk_ms <= 0:
        make_parser().error(f"--chunk_ms is {args.chunk_ms}; expected more than 0")
    set_up_log()
    set_up_cpu(1)
    model, processor = load_model(args.model)
    stream = Stream(model.eval(), processor)
    recogniser = load_recogniser(model, processor, args.grammar, args.acceptance)
    listener = CommandListener(stream, recogniser, args.silence_s, args.longest_s)
    source = (stream.sampling_rate, args.chunk_ms / 1000)
    pieces = microphone_pieces(*source) if args.microphone else file_pieces(args.file, *source, args.realtime)
    latencies_ms = []
    try:
        for heard in listener.listen(pieces):
            latencies_ms.append(1000 * heard.latency_s)
            print(json.dumps(heard.to_dict()) if args.json else heard, flush=True)
    except KeyboardInterrupt:
        print(file=sys.stderr)
    if not args.json:
        latency = f", median latency {median(latencies_ms):.0f} ms" if latencies_ms else ""
        print(
            f"{len(latencies_ms)} utterances in {listener.audio_s:.1f} s{latency}, "
            f"real-time factor {listener.real_time_factor:.3f} on one core"
        )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, OSError, ImportError) as error:
        end_run("listen.py", error)
