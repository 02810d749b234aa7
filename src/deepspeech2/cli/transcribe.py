"""
Transcribes audio and video of any length: captions (SRT, WebVTT), plain text, and JSON with word times.

    python recipes/transcribe.py MODEL talk.mp4 meeting.m4a --output_dir outputs/captions
    python recipes/transcribe.py MODEL talk.mp4 --decoder outputs/decoder/decoder.json
    python recipes/transcribe.py MODEL film.mkv --align script.txt --formats srt --max_characters_per_s 17
    accelerate launch --config_file accelerate_configs/cpu_ddp.yaml recipes/transcribe.py MODEL lectures/*.mp3 \
        --output_dir outputs/captions

With --align the words are those of the script, spelled as there, and only their times are the model's. Under
`accelerate launch` each process takes its share of the files. A file whose captions are there is left alone: the same
command goes on where it was stopped. One that cannot be read is named and skipped, and the status is 1 at the end.
"""

import argparse
import sys
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from deepspeech2.decoding.decoder import load_decoder
from deepspeech2.inference.captions import FORMATS, Limits
from deepspeech2.inference.long_form import Listener
from deepspeech2.inference.transcription import plan_jobs, read_script, transcribe_jobs
from deepspeech2.model.loading import load_model
from deepspeech2.system.command_line import end_run, set_up_log
from deepspeech2.system.devices import set_up_cpu


def make_parser() -> argparse.ArgumentParser:
    limits = Limits()
    parser = argparse.ArgumentParser(
        prog="recipes/transcribe.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a checkpoint, or its id on the Hub")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="anything with sound that FFmpeg reads")
    parser.add_argument("--output_dir", type=Path, help="where to write (default: beside each recording)")
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="what to write (default: all)"
    )
    parser.add_argument(
        "--decoder",
        type=Path,
        metavar="decoder.json",
        help="of recipes/tune_decoder.py or calibrate.py (default: greedy)",
    )
    parser.add_argument("--align", type=Path, metavar="TEXT", help="the known script of the one recording, a text file")
    parser.add_argument("--batch_windows", type=int, default=4, help="windows of 20 s at once (default: %(default)s)")
    parser.add_argument("--cpu_threads", type=int, default=1, help="of the model on a CPU (default: %(default)s)")
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
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    if args.align and len(args.files) > 1:
        make_parser().error(f"--align takes the script of one recording; {len(args.files)} were given")
    set_up_log()
    set_up_cpu(args.cpu_threads)
    limits = Limits(**{name: getattr(args, name) for name in vars(Limits())})
    script = read_script(args.align) if args.align else None
    jobs = plan_jobs(args.files, args.output_dir, args.formats)
    # The first to be ready waits for the last at the end, for hours where the recordings are long.
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=7))
    model, processor = load_model(args.model)
    decoder = load_decoder(model, processor, args.decoder)
    listener = Listener(model.eval().to(state.device), processor, args.batch_windows)
    own = jobs[state.process_index :: state.num_processes]
    facts = {"model": args.model, "decoder": str(args.decoder) if args.decoder else "greedy"}
    failures = gather_object(transcribe_jobs(own, listener, decoder, limits, facts, script))
    state.destroy_process_group()
    if failures and state.is_main_process:
        print(f"{len(failures)} of {len(jobs)} recordings were skipped:", *failures, sep="\n  ", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyboardInterrupt, ImportError, ValueError, OSError) as error:
        end_run("transcribe.py", error)
