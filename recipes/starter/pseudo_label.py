"""
Transcribe the unlabelled speech of the starter with whisper-base. This made pseudo_labels.csv.

    python recipes/starter/pseudo_label.py LIBRISPEECH_MINI --output_file pseudo_labels.csv

It takes some minutes on one core. If packages are missing, the error names them. The speech is clean/unlabelled without
the validation speakers, the held-out speaker, and utterances with a low probability.
"""

import argparse

from whisper import SAMPLING_RATE, Whisper

from deepspeech2.config import options
from deepspeech2.data.audio.recordings import open_audio
from deepspeech2.data.corpora import load_corpus
from deepspeech2.data.manifests import write_transcripts
from deepspeech2.system.command_line import run, set_up_log

PASSED_OVER = {"460", "2416", "3526"}
LOWEST_LOG_PROBABILITY = -0.6


def make_parser() -> argparse.ArgumentParser:
    parser = options.new_parser("recipes/starter/pseudo_label.py", __doc__)
    parser.add_argument("folder", metavar="LIBRISPEECH_MINI", help="folder of librispeech_mini")
    parser.add_argument(
        "--count", type=int, help="number of utterances to transcribe, from the first one (default: all)"
    )
    options.add_output_file_option(
        parser, "outputs/starter/pseudo_labels.csv", "CSV file to write, with the columns id and text"
    )
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    set_up_log()
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
    write_transcripts(args.output_file, ("id", "text"), rows)
    return 0


if __name__ == "__main__":
    run(main)
