"""
Trains a word n-gram on plain text, for beam search: the language model that tune_decoder.py and decoder.json take.

    python recipes/train_lm.py book.txt letters.txt --output_file lm.arpa
    python recipes/train_lm.py book.txt --transcripts_of FOLDER::clean/train.100 --leave_out FOLDER::other/test

The text is normalised as MODEL's transcripts are. A file with empty lines between its paragraphs is read as sentences,
another one as a sentence a line. --transcripts_of adds the transcripts of a split; a sentence that shares eight words
in a row with a transcript of a --leave_out split, or is one, is left out and counted.
"""

import argparse
from itertools import chain
from pathlib import Path

from deepspeech2.config import options
from deepspeech2.decoding.language_model import HeldOut, keep, read_sentences, split_transcripts, train_language_model
from deepspeech2.model.loading import load_model
from deepspeech2.system.command_line import run, set_up_log


def make_parser() -> argparse.ArgumentParser:
    parser = options.new_parser("recipes/train_lm.py", __doc__)
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT", help="plain text in UTF-8")
    parser.add_argument(
        "--order", type=int, default=3, help="words of the longest n-gram, 2 to 5 (default: %(default)s)"
    )
    parser.add_argument(
        "--model",
        default="recipes/quickstart/starter",
        help="whose spelling the text is given: a folder or an id on the Hub (default: %(default)s)",
    )
    parser.add_argument(
        "--transcripts_of",
        nargs="+",
        default=[],
        metavar="DATASET::SPLIT",
        help="splits whose transcripts are read too, DATASET::CONFIG/SPLIT where there are configurations",
    )
    parser.add_argument(
        "--leave_out", nargs="+", default=[], metavar="DATASET::SPLIT", help="splits that will be scored: see above"
    )
    options.add_output_file_option(parser, "outputs/lm.arpa", "ARPA file to write")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    set_up_log()
    _, processor = load_model(args.model)
    named = {str(path): read_sentences(path, processor) for path in args.texts}
    named |= {name: split_transcripts(name, processor) for name in args.transcripts_of}
    held_out = HeldOut(chain.from_iterable(split_transcripts(name, processor) for name in args.leave_out))
    left_out: dict[str, int] = {}
    facts = train_language_model(keep(named, held_out, left_out), processor, args.order, args.output_file)
    for name, count in left_out.items():
        print(f"{name}: {count} sentences left out, which --leave_out splits have too")
    print(
        f"{args.output_file}: {args.order}-gram of {facts.words:,} words in {facts.sentences:,} sentences, vocabulary "
        f"{facts.vocabulary:,}, unknown words {100 * facts.unknown_share:.2f} %"
    )
    return 0


if __name__ == "__main__":
    run(main)
