"""
Makes a training corpus of recordings that have captions: each cue is found by forced alignment, bad ones are left out.

    python recipes/captions/segment.py recipes/quickstart/starter outputs/captioned talk.mp4 lecture.mp3
    accelerate launch recipes/finetune.py recipes/captions/config.yaml --dataset_name outputs/captioned

Beside talk.mp4 lies talk.srt or talk.vtt (or one talk.LANGUAGE.srt). OUT holds FLAC files and metadata.csv; dropped.csv
lists the cues that were left out, with the reason. OUT is there when it is whole.
"""

import argparse
import sys
from pathlib import Path

import torch

from deepspeech2.inference.captioned_corpus import Rules, write_corpus
from deepspeech2.inference.long_form import Listener
from deepspeech2.model.loading import load_model
from deepspeech2.system.command_line import end_run, set_up_log
from deepspeech2.system.devices import set_up_cpu


def make_parser() -> argparse.ArgumentParser:
    rules = Rules()
    parser = argparse.ArgumentParser(
        prog="recipes/captions/segment.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a checkpoint, or its id on the Hub, that aligns")
    parser.add_argument("folder", type=Path, metavar="OUT", help="new folder for the corpus")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="audio or video, captions beside it")
    for name, what in {
        "min_score": "cues that the model hears worse are left out; 0 is perfect",
        "margin_s": "by how much the captions may be early or late",
        "min_duration_s": "of an utterance",
        "max_duration_s": "of an utterance; cues that follow each other are joined up to it",
    }.items():
        parser.add_argument(
            f"--{name}", type=float, default=getattr(rules, name), help=f"{what} (default: %(default)s)"
        )
    parser.add_argument("--cpu_threads", type=int, default=1, help="of the model on a CPU (default: %(default)s)")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    set_up_log()
    set_up_cpu(args.cpu_threads)
    model, processor = load_model(args.model)
    listener = Listener(model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), processor)
    rules = Rules(**{name: getattr(args, name) for name in vars(Rules())})
    written, failures = write_corpus(args.folder, args.files, listener, rules)
    print(written.summary())
    if failures:
        print(f"{len(failures)} of {len(args.files)} recordings were skipped:", *failures, sep="\n  ", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyboardInterrupt, ImportError, ValueError, OSError) as error:
        end_run("segment.py", error)
