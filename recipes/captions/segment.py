"""
Make a training corpus from captioned recordings: forced alignment finds each cue, and bad cues are left out.

    python recipes/captions/segment.py recipes/quickstart/starter talk.mp4 lecture.mp3 --output_dir outputs/captioned
    accelerate launch recipes/finetune.py recipes/captions/config.yaml --dataset_name outputs/captioned

The captions of talk.mp4 are talk.srt, talk.vtt or a single talk.LANGUAGE.srt in the same folder. The corpus has FLAC
files and metadata.csv. dropped.csv lists the cues that were left out, with the reasons. --output_dir appears when the
corpus is complete. Until then it is in OUTPUT_DIR.part, and the same command goes on with a stopped run.
"""

import argparse
import sys
from pathlib import Path

from deepspeech2.config import options
from deepspeech2.inference.captioned_corpus import Rules, write_corpus
from deepspeech2.inference.long_form import Listener
from deepspeech2.model.loading import load_model
from deepspeech2.system.command_line import run
from deepspeech2.system.devices import set_up_process


def make_parser() -> argparse.ArgumentParser:
    rules = Rules()
    parser = options.new_parser("recipes/captions/segment.py", __doc__)
    options.add_model_argument(parser)
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="audio or video file with captions in the same folder"
    )
    for name, what in {
        "min_score": "minimum alignment score of a cue; 0 is perfect",
        "margin_s": "maximum time by which captions are early or late, in seconds",
        "min_duration_s": "minimum duration of an utterance, in seconds",
        "max_duration_s": "maximum duration of an utterance, in seconds; consecutive cues are joined up to it",
    }.items():
        parser.add_argument(
            f"--{name}", type=float, default=getattr(rules, name), help=f"{what} (default: %(default)s)"
        )
    options.add_track_option(parser)
    options.add_compute_options(parser, batches=False)
    options.add_output_option(parser, "outputs/captioned", "new folder to write the corpus into")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    device = set_up_process(args, num_workers=0)
    model, processor = load_model(args.model)
    listener = Listener(model.eval().to(device), processor)
    rules = Rules(**{name: getattr(args, name) for name in vars(Rules())})
    written, failures = write_corpus(args.output_dir, args.files, listener, rules, args.track)
    print(written.summary())
    if failures:
        print(f"{len(failures)} of {len(args.files)} recordings were skipped:", *failures, sep="\n  ", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    run(main)
