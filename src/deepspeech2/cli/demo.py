"""
A page in the browser to try a model on: record or upload, words with confidences and times, captions, commands.

    python recipes/demo.py recipes/quickstart/starter
    python recipes/demo.py outputs/quickstart --compare recipes/quickstart/starter --grammar recipes/commands/home.yaml
    python recipes/demo.py outputs/quickstart --write_space outputs/space

The page is at http://127.0.0.1:7860, for this machine alone unless --host says otherwise. Browsers let a page record
only on the machine itself or over https. --write_space makes a folder that is a Space of the Hub, to be published by
`hf upload YOU/NAME outputs/space --repo-type space`.
"""

import argparse
import signal
import sys
from pathlib import Path

from deepspeech2.inference.demo import build_page, load_hearing, serve
from deepspeech2.inference.space import write_space
from deepspeech2.system.command_line import end_run, set_up_log
from deepspeech2.system.devices import available_cpus, set_up_cpu


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipes/demo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a checkpoint, or its id on the Hub")
    parser.add_argument("--compare", metavar="MODEL", help="another one, whose words stand beside the first one's")
    parser.add_argument("--decoder", type=Path, metavar="decoder.json", help="of the first one (default: greedy)")
    parser.add_argument("--grammar", type=Path, metavar="GRAMMAR", help="YAML file of commands to listen for")
    parser.add_argument("--acceptance", type=Path, metavar="commands.json", help="of recipes/commands/calibrate.py")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: for all who reach it (default: %(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="(default: %(default)s)")
    parser.add_argument("--share", action="store_true", help="by a link of gradio.live, for whoever has it")
    parser.add_argument("--write_space", type=Path, metavar="FOLDER", help="write the page as a Space, serve nothing")
    parser.add_argument(
        "--cpu_threads", type=int, default=available_cpus(), help="(default: the CPUs, here %(default)s)"
    )
    return parser


def main(argv: list[str]) -> None:
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.acceptance and not args.grammar:
        parser.error("--acceptance goes with --grammar")
    set_up_log()
    set_up_cpu(args.cpu_threads)
    hearings = [load_hearing(args.model, args.decoder, args.grammar, args.acceptance)]
    if args.compare:
        hearings.append(load_hearing(args.compare))
    if args.write_space:
        write_space(args.write_space, args.model, args.compare, args.decoder, args.grammar, args.acceptance)
        print(f"Space: {args.write_space}; to publish it: hf upload YOU/NAME {args.write_space} --repo-type space")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does, and leaves no recording behind
    serve(build_page(hearings), args.host, args.port, args.share)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("demo.py: stopped by Ctrl-C")
    except (ImportError, ValueError, ConnectionError, OSError) as error:
        end_run("demo.py", error)
