"""
Write the corpora of the experiments in this folder, from real speech. Existing corpora are kept.

    python recipes/adaptation/prepare.py LIBRISPEECH_MINI

speaker-MINUTESmin-SEED   minutes of a speaker that is not in the starter's training data
telephone                 the starter's training speech and clean/validation over a noisy telephone line
respelt                   English in another alphabet, by speakers that are not in the starter's training data
starter-fresh-head        the starter with a random head for that alphabet
librispeech_mini          a link to LIBRISPEECH_MINI
"""

import argparse
from pathlib import Path

from corpora import (
    RESPELT_CHARACTERS,
    clips_of,
    in_order_of,
    take,
    write_fresh_head,
    write_respelt,
    write_speaker,
    write_telephone,
)

from deepspeech2.config import options
from deepspeech2.system.command_line import run, set_up_log

SPEAKER, POOL_MINUTES = "460", 15  # of clean/validation, 19.7 minutes: 4.7 are the test
HELD_OUT_SPEAKER = "3526"  # of train.100, kept out of the starter's training
TELEPHONE_MINUTES, SNR_DB = 60, 10


def make_parser() -> argparse.ArgumentParser:
    parser = options.new_parser("recipes/adaptation/prepare.py", __doc__)
    parser.add_argument("mini", type=Path, metavar="LIBRISPEECH_MINI", help="folder of librispeech_mini")
    parser.add_argument(
        "--minutes",
        type=float,
        nargs="+",
        default=[1, 5, 15],
        help="minutes of training speech of the speaker, one corpus for each (default: 1 5 15)",
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3], help="random seeds, one corpus for each (default: 1 2 3)"
    )
    parser.add_argument(
        "--model", default="recipes/quickstart/starter", help="model that gets the random head (default: %(default)s)"
    )
    options.add_output_option(parser, "outputs/adaptation/data")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    set_up_log()
    folder = args.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "librispeech_mini").exists():
        (folder / "librispeech_mini").symlink_to(args.mini.resolve(strict=True))
    train, validation, other = (
        list(clips_of(str(args.mini), *names.split("/")))
        for names in ("clean/train.100", "clean/validation", "other/test")
    )

    speaker = [clip for clip in validation if clip[1]["speaker_id"] == SPEAKER]
    for minutes in args.minutes:
        for seed in args.seeds:
            write_speaker(speaker, folder / f"speaker-{minutes:g}min-{seed}", minutes, POOL_MINUTES, seed)

    trained_on = [clip for clip in train if clip[1]["speaker_id"] != HELD_OUT_SPEAKER]
    lines = {"train": take(in_order_of(0, trained_on), TELEPHONE_MINUTES), "test": validation}
    write_telephone(lines, folder / "telephone", SNR_DB)

    unseen = [*speaker, *(clip for clip in train if clip[1]["speaker_id"] == HELD_OUT_SPEAKER)]
    rest = [clip for clip in validation if clip[1]["speaker_id"] != SPEAKER]
    write_respelt({"train": unseen, "test": rest, "other": other}, folder / "respelt")
    write_fresh_head(args.model, RESPELT_CHARACTERS, folder / "starter-fresh-head")
    return 0


if __name__ == "__main__":
    run(main)
