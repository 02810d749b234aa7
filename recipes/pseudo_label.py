"""
Transcribes speech without transcripts by a checkpoint, and writes down what it is sure of, to be trained on.

    python recipes/pseudo_label.py MODEL my_labels.csv --dataset_name my_recordings --min_confidence 0.7
    accelerate launch recipes/finetune.py recipes/own_recordings.yaml --model_name_or_path MODEL \
        --dataset_name my_recordings --transcripts my_labels.csv

The corpus may be a bare folder of recordings; transcripts that are there are not read. The confidence of a text is the
geometric mean of the probabilities of its letters, over the frames in which the model hears any.
"""

import argparse
import sys
from pathlib import Path
from statistics import median

from accelerate import PartialState

from deepspeech2.config.arguments import DataArguments
from deepspeech2.data.manifests import write_transcripts
from deepspeech2.data.splits import load_unlabelled
from deepspeech2.data.streams import EvaluationStream, build_loader
from deepspeech2.decoding.pseudo_labels import pseudo_labels
from deepspeech2.model.loading import load_model
from deepspeech2.system.command_line import end_run, set_up_log
from deepspeech2.system.devices import set_up_cpu


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recipes/pseudo_label.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="folder of a checkpoint, or its id on the Hub")
    parser.add_argument("table", type=Path, metavar="OUT.csv", help="id,text,confidence")
    parser.add_argument("--dataset_name", required=True, help="Hub id, folder or manifest file")
    parser.add_argument("--dataset_config", default="", help="configuration of the dataset")
    parser.add_argument("--split", default="train", help="split; a+b joins several (default: %(default)s)")
    parser.add_argument("--audio_column", default="audio", help="column of the audio (default: %(default)s)")
    parser.add_argument(
        "--min_confidence", type=float, default=0.9, help="texts below it are left out (default: %(default)s)"
    )
    parser.add_argument("--batch_seconds", type=float, default=60.0, help="audio of a batch (default: %(default)s)")
    parser.add_argument("--cpu_threads", type=int, default=1, help="of the model on a CPU (default: %(default)s)")
    return parser


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    set_up_log()
    set_up_cpu(args.cpu_threads)
    data = DataArguments(
        unlabelled_dataset_name=args.dataset_name,
        unlabelled_dataset_config=args.dataset_config,
        unlabelled_split=args.split,
        audio_column=args.audio_column,
    )
    model, processor = load_model(args.model)
    stream = EvaluationStream(load_unlabelled(data), processor, batch_seconds=args.batch_seconds, transcribed=False)
    model.eval().to(PartialState().device)  # type: ignore[arg-type]
    heard = list(pseudo_labels(model, processor, build_loader(stream, num_workers=1)))
    if not heard:
        sys.exit(f"pseudo_label.py: {args.dataset_name!r}, split {args.split!r}, has no recording that can be heard")
    sure = [label for label in heard if label.text and label.confidence >= args.min_confidence]
    if not sure:
        middle = median(label.confidence for label in heard)
        sys.exit(
            f"pseudo_label.py: none of {len(heard):,} utterances has a confidence of {args.min_confidence} or more, "
            f"and half of them have {middle:.2f} or less: lower --min_confidence"
        )
    rows = [(label.id, label.text, f"{label.confidence:.4f}") for label in sure]
    write_transcripts(args.table, ("id", "text", "confidence"), rows)
    minutes = [sum(label.duration_s for label in some) / 60 for some in (sure, heard)]
    print(
        f"{args.table}: {len(sure):,} of {len(heard):,} utterances, {minutes[0]:.1f} of {minutes[1]:.1f} minutes, "
        f"have a confidence of {args.min_confidence} or more; the median is "
        f"{median(label.confidence for label in heard):.2f}"
    )


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (KeyboardInterrupt, ValueError, OSError) as error:
        end_run("pseudo_label.py", error)
