"""
Transcribe audio and video of any length to captions (SRT, WebVTT), plain text, and JSON with word times.

    deepspeech2 transcribe MODEL talk.wav meeting.flac --output_dir outputs/captions
    deepspeech2 transcribe MODEL talk.mp4 --decoder outputs/decoder/decoder.json
    deepspeech2 transcribe MODEL talk.mp4 --decoder greedy
    deepspeech2 transcribe outputs/onnx talk.wav
    deepspeech2 transcribe MODEL film.mkv --align script.txt --formats srt --max_characters_per_s 17
    accelerate launch --config_file accelerate_configs/cpu_ddp.yaml -m deepspeech2 transcribe MODEL lectures/*.mp3 \\
        --output_dir outputs/captions

The folder of `deepspeech2 export` (outputs/onnx) starts in about a second, because ONNX needs no PyTorch. It is the
fastest on a CPU. Its int8 graph is taken; name the file model.onnx for fp32.

A model folder with a decoder.json is decoded with it, and with the language model that it names. With --align, the
text and its spelling come from the script, and the model finds the word times. Under `accelerate launch`, each process
takes its share of the files. Files that already have captions are skipped, so the same command resumes a run that was
stopped. A file that cannot be read is named and skipped, and the exit status is then 1.
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.options import (
    add_compute_options,
    add_decoder_option,
    add_model_argument,
    add_output_option,
    add_recording_argument,
    add_track_option,
)
from ..inference.captions import FORMATS, MIN_CONFIDENCE, Limits

if TYPE_CHECKING:
    import torch

    from ..decoding.decoder import Decoder
    from ..inference.long_form import Listener


def configure(parser: ArgumentParser) -> None:
    limits = Limits()
    add_model_argument(parser)
    add_recording_argument(parser, "files", "+")
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="formats to write (default: all)"
    )
    parser.add_argument(
        "--align",
        type=Path,
        metavar="TEXT",
        help="text file with the script of the recording, for a single FILE (default: none)",
    )
    parser.add_argument(
        "--batch_windows", type=int, default=4, help="number of 20 s windows in a batch (default: %(default)s)"
    )
    add_track_option(parser)
    group = parser.add_argument_group("captions", "The defaults follow Netflix's Timed Text Style Guide.")
    for name, what in {
        "line_length": "maximum characters of a line",
        "max_lines": "maximum lines of a cue",
        "max_characters_per_s": "maximum reading speed, in characters per second; 17 for children",
        "min_duration_s": "minimum duration of a cue, in seconds",
        "max_duration_s": "maximum duration of a cue, in seconds",
        "min_gap_s": "minimum gap between cues, in seconds; two frames at 24 per second",
    }.items():
        default = getattr(limits, name)
        group.add_argument(f"--{name}", type=type(default), default=default, help=f"{what} (default: {default:.3g})")
    parser.add_argument(
        "--min_confidence",
        type=float,
        default=MIN_CONFIDENCE,
        help="minimum mean confidence of a cue: music and noise are below it, and are listed in the JSON; 0 keeps all "
        "cues (default: %(default)s)",
    )
    add_decoder_option(parser)
    add_compute_options(parser, batches=False)
    add_output_option(parser, None, "folder to write into (default: beside each recording)")


def main(args: Namespace) -> int:
    from ..inference.onnx_model import find_graph, refuse_device
    from ..inference.transcription import CaptionOptions, plan_jobs, read_script, transcribe_jobs
    from ..system.command_line import set_up_log
    from ..system.files import printable

    if not 0 <= args.min_confidence < 1:
        raise ValueError(
            f"--min_confidence is {args.min_confidence}; expected 0 (keep all cues) or more, but less than 1"
        )
    if args.align and len(args.files) > 1:
        raise ValueError(f"--align takes the script of one recording, but {len(args.files)} recordings were given")
    graph = find_graph(args.model)
    if graph:
        refuse_device(graph, args.device)
    limits = Limits(**{name: getattr(args, name) for name in vars(Limits())})
    script = read_script(args.align) if args.align else None
    jobs = plan_jobs(args.files, args.output_dir, args.formats)
    facts: dict[str, object] = {"model": printable(graph or args.model)}
    options = CaptionOptions(limits, script, args.min_confidence, args.track, facts)
    if graph and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        set_up_log()
        listener, decoder = _load(args, graph)
        facts["decoder"] = printable(decoder.name)
        failures = transcribe_jobs(jobs, listener, decoder, options)
    else:
        from accelerate import PartialState
        from accelerate.utils import gather_object

        from ..system.devices import set_up_process

        device = set_up_process(args, num_workers=0, shared=True)
        state = PartialState()
        own = jobs[state.process_index :: state.num_processes]
        listener, decoder = _load(args, graph, device)
        facts["decoder"] = printable(decoder.name)
        failures = gather_object(transcribe_jobs(own, listener, decoder, options))
        state.destroy_process_group()
        if not state.is_main_process:
            return 1 if failures else 0
    if failures:
        print(f"{len(failures)} of {len(jobs)} recordings were skipped:", *failures, sep="\n  ", file=sys.stderr)
    return 1 if failures else 0


def _load(args: Namespace, graph: Path | None, device: "torch.device | None" = None) -> "tuple[Listener, Decoder]":
    """Return the model and its decoder."""
    from ..decoding.decoder import GREEDY_NAME, load_decoder
    from ..inference.onnx_model import load_listener
    from ..system.devices import count_threads

    listener = load_listener(args.model, graph, device or "cpu", count_threads(args.cpu_threads), args.batch_windows)
    decoder = GREEDY_NAME if args.align else args.decoder  # a script says the words
    return listener, load_decoder(listener.model, listener.processor, decoder)
