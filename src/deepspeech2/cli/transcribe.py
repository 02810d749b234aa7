"""
Transcribes audio and video of any length: captions (SRT, WebVTT), plain text, and JSON with word times.

    deepspeech2 transcribe MODEL talk.wav meeting.flac --output_dir outputs/captions
    deepspeech2 transcribe MODEL talk.mp4 --decoder outputs/decoder/decoder.json
    deepspeech2 transcribe MODEL film.mkv --align script.txt --formats srt --max_characters_per_s 17
    accelerate launch --config_file accelerate_configs/cpu_ddp.yaml -m deepspeech2 transcribe MODEL lectures/*.mp3 \\
        --output_dir outputs/captions

With --align the words are those of the script, spelled as there; the model finds their times. Under
`accelerate launch` each process takes its share of the files. A file whose captions exist is left alone, so the same
command continues where it was stopped. A file that cannot be read is named and skipped; the exit status is then 1.
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from ..config.options import add_compute_options, add_decoder_option, add_model_argument, add_output_option
from ..inference.captions import FORMATS, Limits


def configure(parser: ArgumentParser) -> None:
    limits = Limits()
    add_model_argument(parser)
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="WAV, FLAC, Ogg or MP3; with PyAV all that FFmpeg reads"
    )
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="what to write (default: all)"
    )
    parser.add_argument("--align", type=Path, metavar="TEXT", help="text file with the known script of one recording")
    parser.add_argument("--batch_windows", type=int, default=4, help="windows of 20 s at once (default: %(default)s)")
    group = parser.add_argument_group("captions", "the defaults are those of Netflix's Timed Text Style Guide")
    for name, what in {
        "line_length": "characters of a line",
        "max_lines": "lines of a cue",
        "max_characters_per_s": "reading speed; 17 for children",
        "min_duration_s": "of a cue",
        "max_duration_s": "of a cue",
        "min_gap_s": "between cues: two frames of 24 a second",
    }.items():
        default = getattr(limits, name)
        group.add_argument(f"--{name}", type=type(default), default=default, help=f"{what} (default: {default:.3g})")
    add_decoder_option(parser)
    add_compute_options(parser, batches=False)
    add_output_option(parser, None, "folder to write into (default: beside each recording)")


def main(args: Namespace) -> int:
    from accelerate import PartialState
    from accelerate.utils import gather_object

    from ..decoding.decoder import load_decoder
    from ..inference.long_form import Listener
    from ..inference.transcription import plan_jobs, read_script, transcribe_jobs
    from ..model.loading import load_model
    from ..system.devices import set_up_process

    if args.align and len(args.files) > 1:
        raise ValueError(f"--align takes the script of one recording; {len(args.files)} were given")
    device = set_up_process(args, num_workers=0, shared=True)
    limits = Limits(**{name: getattr(args, name) for name in vars(Limits())})
    script = read_script(args.align) if args.align else None
    jobs = plan_jobs(args.files, args.output_dir, args.formats)
    model, processor = load_model(args.model)
    decoder = load_decoder(model, processor, args.decoder)
    listener = Listener(model.eval().to(device), processor, args.batch_windows)
    state = PartialState()
    own = jobs[state.process_index :: state.num_processes]
    facts = {"model": args.model, "decoder": str(args.decoder) if args.decoder else "greedy"}
    failures = gather_object(transcribe_jobs(own, listener, decoder, limits, facts, script))
    state.destroy_process_group()
    if failures and state.is_main_process:
        print(f"{len(failures)} of {len(jobs)} recordings were skipped:", *failures, sep="\n  ", file=sys.stderr)
    return 1 if failures else 0
