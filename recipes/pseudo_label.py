"""
Transcribe unlabelled speech with a model, and write the confident transcripts to a table to train on.

    python recipes/pseudo_label.py MODEL --output_file my_labels.csv --dataset_name my_recordings --min_confidence 0.7
    accelerate launch recipes/finetune.py recipes/own_recordings.yaml --model_name_or_path MODEL \\
        --dataset_name my_recordings --transcripts my_labels.csv

The corpus can be a folder of recordings. Existing transcripts are not read. The confidence of a transcript is the
geometric mean of the probabilities of its letters, over the frames in which a letter is the most likely symbol.
"""

import argparse
import sys
from statistics import median

from accelerate import PartialState

from deepspeech2.config import options
from deepspeech2.config.arguments import DataArguments
from deepspeech2.data.manifests import write_transcripts
from deepspeech2.data.splits import load_unlabelled
from deepspeech2.decoding.pseudo_labels import pseudo_labels
from deepspeech2.evaluation.predictions import split_batches
from deepspeech2.model.loading import load_model
from deepspeech2.system.command_line import run
from deepspeech2.system.devices import set_up_process


def make_parser() -> argparse.ArgumentParser:
    parser = options.new_parser("recipes/pseudo_label.py", __doc__)
    options.add_model_argument(parser)
    parser.add_argument(
        "--min_confidence",
        type=float,
        default=0.9,
        help="minimum confidence of a transcript, from 0 to 1 (default: %(default)s)",
    )
    options.add_split_options(parser, split="train", transcribed=False)
    options.add_compute_options(parser)
    options.add_output_file_option(
        parser, "outputs/pseudo_labels.csv", "CSV file to write, with the columns id, text and confidence"
    )
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    device = set_up_process(args, shared=True)
    data = DataArguments(
        unlabelled_dataset_name=args.dataset_name,
        unlabelled_dataset_config=args.dataset_config or "",
        unlabelled_split=args.split,
        audio_column=args.audio_column,
        audio_root=args.audio_root,
    )
    model, processor = load_model(args.model)
    model.eval().to(device)
    batches = split_batches(load_unlabelled(data), processor, args.batch_seconds, transcribed=False)
    labels = pseudo_labels(model, processor, batches)
    state = PartialState()
    state.destroy_process_group()
    if not state.is_main_process:
        return 0
    if not labels:
        sys.exit(f"pseudo_label.py: {args.dataset_name!r}, split {args.split!r}, has no readable recording")
    sure = [label for label in labels if label.text and label.confidence >= args.min_confidence]
    if not sure:
        middle = median(label.confidence for label in labels)
        sys.exit(
            f"pseudo_label.py: none of {len(labels):,} utterances has a confidence of {args.min_confidence} or more, "
            f"and their median is {middle:.2f}; lower --min_confidence"
        )
    rows = [(label.id, label.text, f"{label.confidence:.4f}") for label in sure]
    write_transcripts(args.output_file, ("id", "text", "confidence"), rows)
    minutes = [sum(label.duration_s for label in some) / 60 for some in (sure, labels)]
    print(
        f"{args.output_file}: {len(sure):,} of {len(labels):,} utterances, {minutes[0]:.1f} of {minutes[1]:.1f} "
        f"minutes, have a confidence of {args.min_confidence} or more; the median is "
        f"{median(label.confidence for label in labels):.2f}"
    )
    return 0


if __name__ == "__main__":
    run(main)
