"""
Serves a page to try a model on: record or upload, words with confidences and times, captions, commands.

    deepspeech2 demo MODEL
    deepspeech2 demo outputs/quickstart --compare recipes/quickstart/starter --grammar recipes/commands/home.yaml
    deepspeech2 demo outputs/quickstart --write_space outputs/space

The page is at http://127.0.0.1:7860, for this machine alone unless --host says otherwise. Browsers let a page record
only on the machine itself or over https. --write_space makes a folder that is a Space of the Hub, to be published by
`hf upload YOU/NAME outputs/space --repo-type space`.
"""

import signal
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..config.options import add_compute_options, add_decoder_option, add_model_argument
from .recognise import add_acceptance_option


def configure(parser: ArgumentParser) -> None:
    add_model_argument(parser)
    parser.add_argument("--compare", metavar="MODEL", help="second model, its words beside those of the first")
    parser.add_argument("--grammar", type=Path, metavar="GRAMMAR", help="YAML file of commands to recognise")
    add_acceptance_option(parser)
    parser.add_argument(
        "--write_space", type=Path, metavar="FOLDER", help="write the page as a Space into a new folder, serve nothing"
    )
    server = parser.add_argument_group("server")
    server.add_argument("--host", default="127.0.0.1", help="0.0.0.0: for all who reach it (default: %(default)s)")
    server.add_argument("--port", type=int, default=7860, help="(default: %(default)s)")
    server.add_argument("--share", action="store_true", help="by a link of gradio.live, for whoever has it")
    add_decoder_option(parser)
    add_compute_options(parser, batches=False)


def main(args: Namespace) -> None:
    from ..inference.demo import build_page, import_gradio, load_hearing, serve
    from ..inference.space import write_space
    from ..system.devices import set_up_process

    if args.acceptance and not args.grammar:
        raise ValueError("--acceptance was given without --grammar; name the grammar that it was found for")
    import_gradio()  # known to be missing before a model is loaded
    device = set_up_process(args, num_workers=0)
    hearings = [load_hearing(args.model, args.decoder, args.grammar, args.acceptance, device)]
    if args.compare:
        hearings.append(load_hearing(args.compare, device=device))
    if args.write_space:
        write_space(args.write_space, args.model, args.compare, args.decoder, args.grammar, args.acceptance)
        print(f"Space: {args.write_space}; to publish it: hf upload YOU/NAME {args.write_space} --repo-type space")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does, and leaves no recording behind
    serve(build_page(hearings), args.host, args.port, args.share)
