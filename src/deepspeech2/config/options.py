"""From arguments to corpora: what is trained on, what is held out of it, and what is scored."""

import logging
from argparse import ArgumentParser, Namespace

from .arguments import DataArguments

logger = logging.getLogger(__name__)


def add_split_arguments(parser: ArgumentParser) -> None:
    """The options of a recipe that only reads one split; `split_arguments` takes what was given."""
    parser.add_argument("--dataset_name", required=True, help="Hub id, folder, manifest file or 'synthetic'")
    parser.add_argument("--dataset_config", help="configuration of the dataset")
    parser.add_argument(
        "--split", default="test", help="split; a+b joins several; held-out: see below (default: %(default)s)"
    )
    parser.add_argument(
        "--held_out_share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="with --split held-out: the share of --train_split that finetune.py kept for scoring",
    )
    parser.add_argument(
        "--held_out_speakers",
        nargs="+",
        default=[],
        metavar="SPEAKER",
        help="with --split held-out: the speakers of --train_split that finetune.py kept for scoring",
    )
    parser.add_argument("--train_split", default="train", help="what was trained on (default: %(default)s)")
    parser.add_argument("--dataset_revision", help="revision of a Hub dataset")
    parser.add_argument("--text_column", default="text", help="column of the transcripts (default: %(default)s)")
    parser.add_argument("--audio_column", default="audio", help="column of the audio (default: %(default)s)")


def split_arguments(given: Namespace) -> DataArguments:
    """What `add_split_arguments` asked for, for `load_split`."""
    return DataArguments(
        dataset_name=[given.dataset_name],
        dataset_config=[given.dataset_config] if given.dataset_config else [],
        train_split=[given.train_split],
        held_out_share=given.held_out_share,
        held_out_speakers=given.held_out_speakers,
        dataset_revision=[given.dataset_revision] if given.dataset_revision else [],
        text_column=given.text_column,
        audio_column=given.audio_column,
    )
