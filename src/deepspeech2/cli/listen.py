"""
Recognise voice commands from a microphone or a recording, and print each command as soon as it ends.

    deepspeech2 listen outputs/streaming --microphone
    deepspeech2 listen MODEL home.yaml --microphone
    deepspeech2 listen MODEL home.yaml evening.wav --chunk_ms 50 --realtime
    deepspeech2 listen MODEL home.yaml evening.wav --json --acceptance outputs/commands/commands.json

MODEL must be unidirectional, such as one trained with recipes/commands/streaming.yaml. Each line shows the time of the
command in the audio, its slots, its confidence, and its latency after the last letter.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from statistics import median

from ..config.options import add_compute_options, add_model_argument, add_recording_argument
from .recognise import add_acceptance_option, add_grammar_argument, split_grammar


def configure(parser: ArgumentParser) -> None:
    add_model_argument(parser)
    add_grammar_argument(parser)
    add_recording_argument(parser, "file", "?")
    parser.add_argument("--microphone", action="store_true", help="listen to the default microphone until Ctrl-C")
    add_acceptance_option(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object for each command")
    speech = parser.add_argument_group("speech")
    speech.add_argument(
        "--chunk_ms", type=float, default=100.0, help="audio of a processing step, in ms (default: %(default)s)"
    )
    speech.add_argument("--realtime", action="store_true", help="read a recording at the speed at which it was spoken")
    speech.add_argument(
        "--silence_s", type=float, default=0.5, help="pause that ends a command, in seconds (default: %(default)s)"
    )
    speech.add_argument(
        "--longest_s",
        type=float,
        default=15.0,
        help="maximum utterance, in seconds; longer ones are cut at a pause (default: %(default)s)",
    )
    add_compute_options(parser, batches=False)


def main(args: Namespace) -> int:
    import torch

    from ..inference.streaming import Stream
    from ..inference.voice_commands.listening import CommandListener, file_pieces, microphone_pieces
    from ..inference.voice_commands.recognition import find_commands, load_recogniser
    from ..model.loading import load_model
    from ..system.devices import set_up_process

    if args.chunk_ms <= 0:
        raise ValueError(f"--chunk_ms is {args.chunk_ms}; expected a duration above 0")
    given, files = split_grammar(args.grammar, [args.file] if args.file else [])
    if len(files) + args.microphone != 1:
        given_ones = " and ".join([*map(str, files), *["--microphone"] * args.microphone]) or "nothing"
        raise ValueError(f"there is {given_ones} to listen to; name one recording, or add --microphone, not both")
    device = set_up_process(args, num_workers=0)
    model, processor = load_model(args.model)
    stream = Stream(model.eval().to(device), processor)
    recogniser = load_recogniser(model, processor, *find_commands(model.name_or_path, given, args.acceptance))
    listener = CommandListener(stream, recogniser, args.silence_s, args.longest_s)
    source = (stream.sampling_rate, args.chunk_ms / 1000)
    pieces = microphone_pieces(*source) if args.microphone else file_pieces(files[0], *source, args.realtime)
    latencies_ms = []
    try:
        for command in listener.listen(pieces):
            latencies_ms.append(1000 * command.latency_s)
            print(json.dumps(command.to_dict()) if args.json else command, flush=True)
    except KeyboardInterrupt:
        print(file=sys.stderr)
    if not args.json:
        latency = f", median latency {median(latencies_ms):.0f} ms" if latencies_ms else ""
        threads = torch.get_num_threads()
        where = f"{threads} CPU thread{'s' if threads > 1 else ''}" if device.type == "cpu" else str(device)
        print(
            f"{len(latencies_ms)} utterances in {listener.audio_s:.1f} s{latency}, "
            f"real-time factor {listener.real_time_factor:.3f} on {where}"
        )
    return 0
