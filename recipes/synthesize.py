"""
Says plain text by many synthetic speakers, in rooms and noise: a corpus of read speech to mix into training.

    python recipes/synthesize.py OUT TEXT_FILE... --hours 10 --speakers 400

OUT is then a dataset_name of finetune.py, with the splits train, validation and test; no speaker and no sentence is in
two of them. The same text and options give the same bytes.
"""

import argparse
import math
import sys
from functools import partial
from pathlib import Path

import numpy as np

from deepspeech2.data.synthesis import kokoro
from deepspeech2.data.synthesis.reading_corpus import read_sentences, synthesize_reading
from deepspeech2.data.synthesis.voices import CREDIT
from deepspeech2.system.command_line import end_run


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    num_validation, num_test = math.ceil(args.test_minutes / 2), math.ceil(args.test_minutes)
    blend = partial(kokoro.blend_voices, args.kokoro, seed=args.seed, num_held_out=num_validation + num_test)
    if args.kokoro:
        kokoro.assemble_network()
    sentences = read_sentences(args.text_files, np.random.default_rng([args.seed, 30]))
    folder = synthesize_reading(
        args.folder,
        sentences,
        blend if args.kokoro else None,
        kokoro.CREDIT if args.kokoro else CREDIT,
        minutes_train=60 * args.hours,
        minutes_validation=args.test_minutes / 2,
        minutes_test=args.test_minutes,
        num_train_speakers=args.speakers,
        num_validation_speakers=num_validation,
        num_test_speakers=num_test,
        seed=args.seed,
        num_proc=args.num_proc,
    )
    print((folder / "README.md").read_text(encoding="utf-8").split("\n\n", 1)[1])


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="OUT", help="new folder for the corpus")
    parser.add_argument("text_files", type=Path, nargs="+", metavar="TEXT_FILE", help="plain English text, UTF-8")
    parser.add_argument("--hours", type=float, default=10, help="speech for training (default: %(default)s)")
    parser.add_argument("--speakers", type=int, default=400, help="voices in training (default: %(default)s)")
    parser.add_argument(
        "--test_minutes", type=float, default=20, help="speech of others, a speaker a minute (default: %(default)s)"
    )
    parser.add_argument("--kokoro", type=Path, metavar="FOLDER", help="more natural, slower: Kokoro's voices, *.bin")
    parser.add_argument("--seed", type=int, default=0, help="of voices, order and rooms (default: %(default)s)")
    parser.add_argument("--num_proc", type=int, default=2, help="processes (default: %(default)s)")
    return parser


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("synthesize.py: stopped by Ctrl-C; nothing is left but OUT.partial, which the next run removes")
    except (ImportError, ValueError, OSError) as error:
        end_run("synthesize.py", error)
