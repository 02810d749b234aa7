"""
Use a DeepSpeech2 model: transcribe recordings, recognise voice commands, try it in the browser, export it.

    deepspeech2 transcribe MODEL talk.wav --output_dir captions
    deepspeech2 transcribe --help

MODEL is a folder with config.json and model.safetensors, or the id of a model on the Hub.
"""

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
from . import convert, demo, export, listen, recognise, transcribe

COMMANDS = {
    "transcribe": (transcribe, "recordings and videos into captions, text and word times"),
    "recognise": (recognise, "voice commands in short recordings"),
    "listen": (listen, "voice commands from a microphone, as they are spoken"),
    "demo": (demo, "a page in the browser to try a model on"),
    "export": (export, "a model as ONNX, in fp32 and int8, checked against PyTorch"),
    "convert": (convert, "a checkpoint of deepspeech.pytorch into a model folder"),
}


def make_parser() -> ArgumentParser:
    """Of `deepspeech2` and its commands."""
    summaries = "".join(f"\n  {name:<12}{summary}" for name, (_, summary) in COMMANDS.items())
    parser = new_parser("deepspeech2", f"{__doc__}\ncommands:{summaries}")
    parser.add_argument("--version", action="version", version=f"deepspeech2 {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", help="one of those above, with its options")
    for name, (module, _) in COMMANDS.items():
        module.configure(commands.add_parser(name, description=module.__doc__, formatter_class=parser.formatter_class))
    return parser


def main(argv: list[str]) -> int | None:
    """
    Runs one command.

    Args:
        argv: its name and its options.

    Returns:
        The exit status; None for 0.
    """
    parser = make_parser()
    if not argv:
        parser.print_help()
        return 0
    if not argv[0].startswith("-") and argv[0] not in COMMANDS:
        known = ", ".join(COMMANDS)
        parser.error(f"there is no command {argv[0]!r}; expected one of {known}{did_you_mean(argv[0], COMMANDS)}")
    args = parser.parse_args(argv)
    if args.command is None:
        parser.error(f"a command is missing; expected one of {', '.join(COMMANDS)}")
    args.command_line = shlex.join(["deepspeech2", *argv])
    return COMMANDS[args.command][0].main(args)


def console() -> None:
    """The entry point of the console command."""
    signal.signal(signal.SIGINT, _stop)
    run(main)


def _stop(number: int, frame: FrameType | None) -> None:
    """
    Raises KeyboardInterrupt, but ends the process at once where Ctrl-C comes during an import: numpy and torch, which
    take seconds to import, answer it with errors of their own.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            sys.stderr.write("deepspeech2: stopped by Ctrl-C\n")
            sys.stderr.flush()
            os._exit(1)
        frame = frame.f_back
    raise KeyboardInterrupt
