"""
Train a word n-gram language model on plain text, for tune_decoder.py and decoder.json.

    python recipes/train_lm.py book.txt letters.txt --output_file lm.arpa
    python recipes/train_lm.py books.txt --prune 1e-7 --output_file lm.arpa.gz
    python recipes/train_lm.py book.txt --transcripts_of FOLDER::clean/train.100 --leave_out FOLDER::other/test

The text is normalised like the transcripts of --model. A file with empty lines between its paragraphs is split into
sentences. Any other file has one sentence per line. --transcripts_of adds the transcripts of a split. A sentence is
left out and counted if it equals a transcript of a --leave_out split, or shares eight consecutive words with one.
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
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT", help="file of plain text in UTF-8")
    parser.add_argument(
        "--order", type=int, default=3, help="order of the n-gram model, in words, from 2 to 5 (default: %(default)s)"
    )
    parser.add_argument(
        "--prune",
        type=float,
        default=0.0,
        metavar="NATS",
        help="leave out n-grams whose loss raises the entropy by less, such as 1e-7; 0 keeps all (default: 0)",
    )
    parser.add_argument(
        "--model",
        default="recipes/quickstart/starter",
        help="model whose text normalisation is applied: a folder or an id on the Hub (default: %(default)s)",
    )
    parser.add_argument(
        "--transcripts_of",
        nargs="+",
        default=[],
        metavar="DATASET::SPLIT",
        help="splits whose transcripts are added, also DATASET::CONFIG/SPLIT (default: none)",
    )
    parser.add_argument(
        "--leave_out",
        nargs="+",
        default=[],
        metavar="DATASET::SPLIT",
        help="splits to be scored later, whose sentences are left out (default: none)",
    )
    options.add_output_file_option(parser, "outputs/lm.arpa", "ARPA file to write; .arpa.gz compresses it")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    set_up_log()
    _, processor = load_model(args.model)
    named = {str(path): read_sentences(path, processor) for path in args.texts}
    named |= {name: split_transcripts(name, processor) for name in args.transcripts_of}
    held_out = HeldOut(chain.from_iterable(split_transcripts(name, processor) for name in args.leave_out))
    left_out: dict[str, int] = {}
    sentences = keep(named, held_out, left_out)
    facts = train_language_model(sentences, processor, args.order, args.output_file, args.prune)
    for name, count in left_out.items():
        print(f"{name}: {count} sentences left out, because a --leave_out split has them")
    print(
        f"{args.output_file}: {args.order}-gram of {facts.words:,} words in {facts.sentences:,} sentences, vocabulary "
        f"{facts.vocabulary:,}, unknown words {100 * facts.unknown_share:.2f} %, n-grams "
        f"{' + '.join(f'{size:,}' for size in facts.ngrams)}, {args.output_file.stat().st_size / 1e6:.1f} MB"
    )
    return 0


if __name__ == "__main__":
    run(main)
