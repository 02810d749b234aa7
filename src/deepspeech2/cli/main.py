"""
Use a DeepSpeech2 model: transcribe recordings, recognise voice commands, serve a demo page, export to ONNX.

    deepspeech2 transcribe MODEL talk.wav --output_dir captions
    deepspeech2 transcribe --help

MODEL is a folder with config.json and model.safetensors, or the id of a model on the Hub.
"""

import gc
import os
import shlex
import signal
import sys
from argparse import ArgumentParser
from types import FrameType

from .. import __version__
from ..config.options import new_parser
from ..config.suggestions import did_you_mean
from ..system.command_line import run
from . import convert, demo, export, grammar, listen, recognise, transcribe

COMMANDS = {
    "transcribe": (transcribe, "transcribe recordings and videos: captions, text and word times"),
    "recognise": (recognise, "recognise voice commands in short recordings"),
    "listen": (listen, "recognise voice commands from a microphone, as they are spoken"),
    "grammar": (grammar, "check a grammar of voice commands: sentences, ambiguities, examples"),
    "demo": (demo, "serve a page to try a model in the browser"),
    "export": (export, "export a model to ONNX, in fp32 and int8, checked against PyTorch"),
    "convert": (convert, "convert a checkpoint of deepspeech.pytorch to a model folder"),
}
GARBAGE_THRESHOLD = 100_000  # new objects from one collection to the next


def make_parser() -> ArgumentParser:
    """Return the parser of `deepspeech2` and its commands."""
    summaries = "".join(f"\n  {name:<12}{summary}" for name, (_, summary) in COMMANDS.items())
    parser = new_parser("deepspeech2", f"{__doc__}\ncommands:{summaries}")
    parser.add_argument("--version", action="version", version=f"deepspeech2 {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", help="one of the commands above, followed by its options"
    )
    for name, (module, _) in COMMANDS.items():
        module.configure(commands.add_parser(name, description=module.__doc__))
    return parser


def main(argv: list[str]) -> int | None:
    """
    Run one command.

    Args:
        argv: the name of the command and its arguments.

    Returns:
        The exit status, or None for 0.
    """
    parser = make_parser()
    if not argv:
        parser.print_help()
        return 0
    if not argv[0].startswith("-") and argv[0] not in COMMANDS:
        known = ", ".join(COMMANDS)
        parser.error(f"unknown command {argv[0]!r}; expected one of {known}{did_you_mean(argv[0], COMMANDS)}")
    args = parser.parse_args(argv)
    if args.command is None:
        parser.error(f"no command was given; expected one of {', '.join(COMMANDS)}")
    args.command_line = shlex.join(["deepspeech2", *argv])
    return COMMANDS[args.command][0].main(args)


def console() -> None:
    """Run the console command `deepspeech2`."""
    signal.signal(signal.SIGINT, _stop)
    # Imports make objects that stay. Looking for garbage among them so often would take a tenth of the start.
    gc.set_threshold(GARBAGE_THRESHOLD)
    run(main)


def _stop(number: int, frame: FrameType | None) -> None:
    """
    Raise KeyboardInterrupt on Ctrl-C, but end the process at once during an import.

    numpy and torch take seconds to import, and turn an interrupt into errors of their own.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            sys.stderr.write("deepspeech2: stopped by Ctrl-C\n")
            sys.stderr.flush()
            os._exit(1)
        frame = frame.f_back
    raise KeyboardInterrupt
