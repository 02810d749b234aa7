"""
Synthesise a corpus of read speech from plain text, with many speakers, room acoustics and noise, for training.

    python recipes/synthesize.py book.txt letters.txt --output_dir my_reading --hours 10 --speakers 400

Use the folder as --dataset_name of finetune.py. It has the splits train, validation and test, which share no speaker
and no sentence. The same text and options give the same bytes.
"""

import argparse
import math
from functools import partial
from pathlib import Path

import numpy as np

from deepspeech2.config import options
from deepspeech2.data.synthesis import kokoro
from deepspeech2.data.synthesis.reading_corpus import read_sentences, synthesize_reading
from deepspeech2.data.synthesis.voices import CREDIT
from deepspeech2.system.command_line import run, set_up_log
from deepspeech2.system.devices import count_workers


def make_parser() -> argparse.ArgumentParser:
    parser = options.new_parser("recipes/synthesize.py", __doc__)
    parser.add_argument("texts", type=Path, nargs="+", metavar="TEXT", help="file of plain English text in UTF-8")
    parser.add_argument("--hours", type=float, default=10, help="hours of training speech (default: %(default)s)")
    parser.add_argument("--speakers", type=int, default=400, help="number of training speakers (default: %(default)s)")
    parser.add_argument(
        "--test_minutes",
        type=float,
        default=20,
        help="minutes of test speech, one speaker for each minute; validation gets half (default: %(default)s)",
    )
    parser.add_argument(
        "--kokoro",
        type=Path,
        metavar="FOLDER",
        help="folder of Kokoro voices (*.bin), which are more natural and slower (default: hibari-tts)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed of voices, order and rooms (default: %(default)s)"
    )
    parser.add_argument_group("compute").add_argument(
        "--num_workers", type=int, default=0, help="number of processes; 0: one for each core (default: 0)"
    )
    options.add_output_option(parser, "outputs/synthesize", "new folder to write the corpus into")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    set_up_log()
    num_validation, num_test = math.ceil(args.test_minutes / 2), math.ceil(args.test_minutes)
    blend = partial(kokoro.blend_voices, args.kokoro, seed=args.seed, num_held_out=num_validation + num_test)
    if args.kokoro:
        kokoro.assemble_network()
    sentences = read_sentences(args.texts, np.random.default_rng([args.seed, 30]))
    folder = synthesize_reading(
        args.output_dir,
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
        num_proc=count_workers(args.num_workers),
    )
    print((folder / "README.md").read_text(encoding="utf-8").split("\n\n", 1)[1])
    return 0


if __name__ == "__main__":
    run(main, "stopped by Ctrl-C; only the folder OUTPUT_DIR.partial is left, and the next run removes it")
