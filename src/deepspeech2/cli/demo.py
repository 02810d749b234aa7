"""
Serve a demo page for a model: record or upload speech, and see the transcript, word times, captions and commands.

    deepspeech2 demo MODEL
    deepspeech2 demo outputs/quickstart --compare recipes/quickstart/starter --grammar recipes/commands/home.yaml
    deepspeech2 demo outputs/quickstart --write_space outputs/space

The page is at http://127.0.0.1:7860 and only this machine can open it, unless --host allows others. Browsers let a page
record only on the machine itself or over https. --write_space writes the page as a Space for the Hub. Publish it with
`hf upload YOU/NAME outputs/space --repo-type space`.
"""

import signal
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..config.options import add_compute_options, add_decoder_option, add_model_argument
from .recognise import add_acceptance_option


def configure(parser: ArgumentParser) -> None:
    add_model_argument(parser)
    parser.add_argument(
        "--compare", metavar="MODEL", help="second model, whose transcript is shown beside that of MODEL"
    )
    parser.add_argument(
        "--grammar",
        type=Path,
        metavar="GRAMMAR",
        help="YAML file of the commands to recognise (default: that in the folder of MODEL, else none)",
    )
    add_acceptance_option(parser)
    parser.add_argument(
        "--write_space",
        type=Path,
        metavar="FOLDER",
        help="new folder to write the page into as a Space; no server is started",
    )
    server = parser.add_argument_group("server")
    server.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 accepts other machines (default: %(default)s)",
    )
    server.add_argument("--port", type=int, default=7860, help="port to listen on (default: %(default)s)")
    server.add_argument("--share", action="store_true", help="also serve the page by a public link of gradio.live")
    add_decoder_option(parser)
    add_compute_options(parser, batches=False)


def main(args: Namespace) -> None:
    from ..inference.demo import build_page, import_gradio, load_demo_model, serve
    from ..inference.space import write_space
    from ..system.devices import set_up_process

    if args.acceptance and not args.grammar:
        raise ValueError("--acceptance was given without --grammar; give the grammar that it was calibrated for")
    import_gradio()  # fails before a model is loaded
    device = set_up_process(args, num_workers=0)
    models = [load_demo_model(args.model, args.decoder, args.grammar, args.acceptance, device)]
    if args.compare:
        models.append(load_demo_model(args.compare, device=device))
    if args.write_space:
        write_space(args.write_space, args.model, args.compare, args.decoder, args.grammar, args.acceptance)
        print(f"Space: {args.write_space}. Publish it with: hf upload YOU/NAME {args.write_space} --repo-type space")
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, so that no recording is left behind
    serve(build_page(models), args.host, args.port, args.share)
