"""Groups of command-line options that several commands share: one name, one default and one place for each."""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .arguments import DataArguments


def new_parser(prog: str, description: str | None) -> ArgumentParser:
    """A parser whose help shows a docstring as it was written."""
    return ArgumentParser(prog=prog, description=description, formatter_class=RawDescriptionHelpFormatter)


def add_model_argument(parser: ArgumentParser, name: str = "model", what: str = "folder of a model") -> None:
    """A model, as `load_model` takes it."""
    parser.add_argument(name, metavar=name.upper(), help=f"{what}, or its id on the Hub")


def add_split_options(parser: ArgumentParser, split: str = "test", transcribed: bool = True) -> None:
    """
    What `load_split` reads; `split_arguments` takes what was given.

    Args:
        split: the default of `--split`; "": the command names its splits by options of its own.
        transcribed: False: for `load_unlabelled`, without what only transcribed speech has.
    """
    group = parser.add_argument_group("speech")
    group.add_argument("--dataset_name", required=True, help="Hub id, folder, manifest file or 'synthetic'")
    group.add_argument("--dataset_config", help="configuration of the dataset (default: none)")
    if split:
        group.add_argument("--split", default=split, help="split; a+b joins several (default: %(default)s)")
    group.add_argument("--audio_column", default="audio", help="column of the audio (default: %(default)s)")
    if not transcribed:
        return
    group.add_argument("--text_column", default="text", help="column of the transcripts (default: %(default)s)")
    group.add_argument("--dataset_revision", help="revision of a Hub dataset (default: the newest)")
    group.add_argument("--train_split", default="train", help="what was trained on (default: %(default)s)")
    group.add_argument(
        "--held_out_share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="for the split held-out: the share of --train_split that finetune.py kept for scoring",
    )
    group.add_argument(
        "--held_out_speakers",
        nargs="+",
        default=[],
        metavar="SPEAKER",
        help="for the split held-out: the speakers of --train_split that finetune.py kept for scoring",
    )


def split_arguments(given: Namespace) -> "DataArguments":
    """What `add_split_options` asked for, for `load_split`."""
    from .arguments import DataArguments  # transformers takes seconds to import, and --help needs none of it

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


def add_decoder_option(parser: ArgumentParser) -> None:
    """How logits become words."""
    parser.add_argument_group("decoding").add_argument(
        "--decoder", type=Path, metavar="FILE", help="decoder.json, as tune_decoder.py writes it (default: greedy)"
    )


def add_compute_options(parser: ArgumentParser, batches: bool = True, workers: str = "") -> None:
    """
    Where the model runs, and on how much at once.

    Args:
        batches: with `--batch_seconds`, for a command that reads a stream of batches.
        workers: with `--num_workers`: what each of these processes does.
    """
    group = parser.add_argument_group("compute")
    group.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N; auto is a GPU where there is one (default: auto)"
    )
    group.add_argument(
        "--cpu_threads",
        type=int,
        default=0,
        help="threads of the model on a CPU; 0: the cores left over (default: 0)",
    )
    if batches:
        group.add_argument(
            "--batch_seconds", type=float, default=60.0, help="seconds of audio in a batch (default: %(default)s)"
        )
    if workers:
        group.add_argument(
            "--num_workers", type=int, default=0, help=f"processes that {workers}; 0: one a core (default: 0)"
        )


def add_output_option(parser: ArgumentParser, default: str | None, what: str = "folder to write into") -> None:
    """
    Args:
        default: the folder; None: the command chooses one, and `what` says which.
    """
    shown = " (default: %(default)s)" if default else ""
    parser.add_argument("--output_dir", type=Path, default=default and Path(default), help=what + shown)


def add_output_file_option(parser: ArgumentParser, default: str, what: str) -> None:
    """For a command that writes a single file."""
    parser.add_argument(
        "--output_file", type=Path, default=Path(default), metavar="FILE", help=f"{what} (default: %(default)s)"
    )
