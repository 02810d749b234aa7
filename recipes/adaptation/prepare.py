"""
Write the corpora of the experiments in this folder, from real speech. Existing corpora are kept.

    python recipes/adaptation/prepare.py LIBRISPEECH_MINI --accent ACCENT --one_person ONE_PERSON --noise NOISE

accent, accent-MINUTESmin-SEED   a link to ACCENT, and minutes of its split train
person-MINUTESmin-SEED           minutes of ONE_PERSON, and all beyond ten of them as test
telephone                        the starter's training speech and clean/validation over a telephone among NOISE
respelt                          English in another alphabet, by speakers that are not in the starter's training data
starter-fresh-head               the starter with a random head for that alphabet
librispeech_mini                 a link to LIBRISPEECH_MINI
"""

import argparse
from itertools import product
from pathlib import Path

from corpora import (
    RESPELT_CHARACTERS,
    Clip,
    clips_of,
    in_order_of,
    link,
    take,
    write_fresh_head,
    write_person,
    write_respelt,
    write_split,
)
from telephone import read_noise, write_telephone

from deepspeech2.config import options
from deepspeech2.system.command_line import run, set_up_log

ACCENT_MINUTES = (10, 30)  # all of it is 173 minutes
PERSON_MINUTES, POOL_MINUTES = (1, 4, 10), 10  # of 13 minutes: three are the test
HELD_OUT_SPEAKER = "3526"  # of train.100, kept out of the starter's training
TELEPHONE_MINUTES, SNR_DB = 60, 10


def make_parser() -> argparse.ArgumentParser:
    parser = options.new_parser("recipes/adaptation/prepare.py", __doc__)
    parser.add_argument("mini", type=Path, metavar="LIBRISPEECH_MINI", help="folder of librispeech_mini")
    for name, what in (
        ("accent", "speechocean762: parquet files in data/train and data/test"),
        ("one_person", "recordings of one person with a metadata.csv"),
        ("noise", "recordings of noise; each telephone call gets some of it"),
    ):
        parser.add_argument(f"--{name}", type=Path, help=f"folder of {what} (default: leave these corpora out)")
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
    link(args.mini, folder / "librispeech_mini")

    def clips(split: str) -> list[Clip]:
        return list(clips_of(str(args.mini), *split.split("/")))

    if args.accent:
        link(args.accent, folder / "accent")
        accented = list(clips_of(str(args.accent), None, "train"))
        for minutes, seed in product(ACCENT_MINUTES, args.seeds):
            drawn = take(in_order_of(seed, accented), minutes)
            write_split(folder / f"accent-{minutes}min-{seed}", "train", drawn)
    if args.one_person:
        person = list(clips_of(str(args.one_person), None, "train"))
        for minutes, seed in product(PERSON_MINUTES, args.seeds):
            write_person(person, folder / f"person-{minutes}min-{seed}", minutes, POOL_MINUTES, seed)
    validation = clips("clean/validation")
    if args.noise:
        noises = read_noise(args.noise)
        trained_on = [clip for clip in clips("clean/train.100") if clip[1]["speaker_id"] != HELD_OUT_SPEAKER]
        lines = {"train": take(in_order_of(0, trained_on), TELEPHONE_MINUTES), "test": validation}
        write_telephone(lines, folder / "telephone", noises, SNR_DB)

    unseen = clips("clean/dev_half")
    speakers = {row["speaker_id"] for _, row in unseen}
    rest = [clip for clip in validation if clip[1]["speaker_id"] not in speakers]
    write_respelt({"train": unseen, "test": rest, "other": clips("other/test")}, folder / "respelt")
    write_fresh_head(args.model, RESPELT_CHARACTERS, folder / "starter-fresh-head")
    return 0


if __name__ == "__main__":
    run(main)
