"""
Transcribes the starter's speech without transcripts by whisper-base, as pseudo_labels.csv was made.

    python recipes/starter/pseudo_label.py LIBRISPEECH_MINI pseudo_labels.csv

Some minutes on one core; the packages that it needs are named where they are missing. The speech is clean/unlabelled;
the validation speakers among it and the speaker that is held out are passed over, and so are utterances of which the
model is unsure.
"""

import argparse
import sys
from pathlib import Path

from whisper import SAMPLING_RATE, Whisper

from deepspeech2.data.corpora import load_corpus
from deepspeech2.data.manifests import write_transcripts
from deepspeech2.data.recordings import open_audio
from deepspeech2.system.command_line import end_run

PASSED_OVER = {"460", "2416", "3526"}
LOWEST_LOG_PROBABILITY = -0.6


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    (corpus,) = load_corpus(args.folder, "clean", "unlabelled", text_column=None)
    whisper = Whisper()
    rows = []
    for number, example in enumerate(corpus.stream):
        if number == args.count:
            break
        if str(example["speaker_id"]) not in PASSED_OVER:
            text, log_probability = whisper.transcribe(open_audio(example["audio"], SAMPLING_RATE))
            print(f"{number + 1} {example['id']} {log_probability:.2f} {text}", flush=True)
            if log_probability >= LOWEST_LOG_PROBABILITY:
                rows.append((example["id"], text))
    write_transcripts(args.table, ("id", "text"), rows)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="LIBRISPEECH_MINI", help="real speech")
    parser.add_argument("table", type=Path, metavar="OUT.csv", help="id,text")
    parser.add_argument("--count", type=int, help="of the first utterances alone")
    return parser


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (KeyboardInterrupt, ImportError, ValueError, OSError) as error:
        end_run("pseudo_label.py", error)
