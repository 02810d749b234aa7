"""
Makes a training corpus of recordings that have captions: each cue is found by forced alignment, bad ones are left out.

    python recipes/captions/segment.py recipes/quickstart/starter talk.mp4 lecture.mp3 --output_dir outputs/captioned
    accelerate launch recipes/finetune.py recipes/captions/config.yaml --dataset_name outputs/captioned

Beside talk.mp4 lies talk.srt or talk.vtt (or one talk.LANGUAGE.srt). The folder holds FLAC files and metadata.csv;
dropped.csv lists the cues that were left out, with the reason. It is there when it is whole.
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
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="audio or video, captions beside it")
    for name, what in {
        "min_score": "cues that fit the speech worse are left out; 0 is perfect",
        "margin_s": "by how much the captions may be early or late",
        "min_duration_s": "of an utterance",
        "max_duration_s": "of an utterance; cues that follow each other are joined up to it",
    }.items():
        parser.add_argument(
            f"--{name}", type=float, default=getattr(rules, name), help=f"{what} (default: %(default)s)"
        )
    options.add_compute_options(parser, batches=False)
    options.add_output_option(parser, "outputs/captioned", "new folder for the corpus")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    device = set_up_process(args, num_workers=0)
    model, processor = load_model(args.model)
    listener = Listener(model.eval().to(device), processor)
    rules = Rules(**{name: getattr(args, name) for name in vars(Rules())})
    written, failures = write_corpus(args.output_dir, args.files, listener, rules)
    print(written.summary())
    if failures:
        print(f"{len(failures)} of {len(args.files)} recordings were skipped:", *failures, sep="\n  ", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    run(main)
