"""Command-line options that several commands share, each with one name, one default and one place in the help."""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .suggestions import did_you_mean, given_twice

if TYPE_CHECKING:
    from argparse import _ActionsContainer

    from .arguments import DataArguments


class CommandParser(ArgumentParser):
    """A parser that takes no shortened options, names the nearest one of an unknown option, and each only once."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=RawDescriptionHelpFormatter, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return what is known, as argparse expects, or end the process with the first unknown word."""
        for fault in given_twice(sys.argv[1:] if args is None else args, self._option_string_actions):
            self.error(fault)
        given, unknown = super().parse_known_args(args, namespace)
        if unknown:
            option = unknown[0].partition("=")[0]
            if not option.startswith("-"):
                self.error(f"unexpected word {option!r}")
            known = [name for name in self._option_string_actions if name.startswith("--")]
            self.error(f"unknown option {option}{did_you_mean(option, known)}")
        return given, unknown


def new_parser(prog: str, description: str | None) -> ArgumentParser:
    """Return a parser whose help shows `description` with its own line breaks."""
    return CommandParser(prog=prog, description=description)


def add_model_argument(parser: ArgumentParser, name: str = "model", what: str = "folder of a model") -> None:
    """Add a positional argument for a model, as `load_model` takes it."""
    parser.add_argument(name, metavar=name.upper(), help=f"{what}, or its id on the Hub")


def add_recording_argument(parser: "_ActionsContainer", name: str, nargs: str) -> None:
    """Add a positional argument for recordings, as `read_blocks` reads them."""
    parser.add_argument(
        name,
        nargs=nargs,
        type=Path,
        metavar="FILE",
        help="recording: WAV, FLAC, Ogg or MP3; with PyAV, any format of FFmpeg",
    )


def add_split_options(parser: ArgumentParser, split: str = "test", transcribed: bool = True) -> None:
    """
    Add the options of a corpus and its split. `split_arguments` reads them for `load_split`.

    Args:
        split: the default of `--split`. With "" there is no `--split`: the command has its own options for splits.
        transcribed: whether to add the options of transcribed speech. False for `load_unlabelled`.
    """
    group = parser.add_argument_group("speech")
    group.add_argument("--dataset_name", required=True, help="corpus: Hub id, folder, manifest file or 'synthetic'")
    group.add_argument("--dataset_config", help="configuration of the corpus (default: none)")
    if split:
        group.add_argument("--split", default=split, help="split to read; a+b joins two splits (default: %(default)s)")
    group.add_argument("--audio_column", default="audio", help="name of the audio column (default: %(default)s)")
    group.add_argument(
        "--audio_root",
        default="",
        metavar="FOLDER",
        help="folder of the recordings that a list names (default: the folder of the list)",
    )
    if not transcribed:
        return
    group.add_argument("--text_column", default="text", help="name of the transcript column (default: %(default)s)")
    group.add_argument("--dataset_revision", help="commit, tag or branch of a corpus on the Hub (default: the newest)")
    group.add_argument(
        "--train_split", default="train", help="split that the model was trained on (default: %(default)s)"
    )
    group.add_argument(
        "--held_out_share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of --train_split, 0 to 1, that finetune.py kept as the split held-out (default: %(default)s)",
    )
    group.add_argument(
        "--held_out_speakers",
        nargs="+",
        default=[],
        metavar="SPEAKER",
        help="speaker ids of --train_split that finetune.py kept as the split held-out (default: none)",
    )


def split_arguments(given: Namespace) -> "DataArguments":
    """Return the values of `add_split_options` in the form that `load_split` takes."""
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
        audio_root=given.audio_root,
    )


def add_decoder_option(parser: ArgumentParser) -> None:
    """Add the option that selects the decoder."""
    parser.add_argument_group("decoding").add_argument(
        "--decoder",
        metavar="FILE",
        help="decoder.json that tune_decoder.py wrote, or greedy (default: the decoder.json of MODEL, or else greedy)",
    )


def add_track_option(parser: ArgumentParser) -> None:
    """Add --track."""
    parser.add_argument(
        "--track",
        type=int,
        metavar="N",
        help="audio track of each recording, from 1; a recording with several is named (default: the first)",
    )


def add_compute_options(parser: ArgumentParser, batches: bool = True, workers: str = "") -> None:
    """
    Add the options of the device, the threads and the batch size.

    Args:
        batches: whether to add `--batch_seconds`, for a command that reads a stream of batches.
        workers: what each worker process does, for the help of `--num_workers`. Without it there is no such option.
    """
    group = parser.add_argument_group("compute")
    group.add_argument(
        "--device",
        default="auto",
        help="device of the model: auto, cpu, cuda or cuda:N; auto takes a GPU if there is one (default: auto)",
    )
    group.add_argument(
        "--cpu_threads",
        type=int,
        default=0,
        help="number of CPU threads of the model; 0: as many as there are free cores (default: 0)",
    )
    if batches:
        group.add_argument(
            "--batch_seconds", type=float, default=60.0, help="seconds of audio in a batch (default: %(default)s)"
        )
    if workers:
        group.add_argument(
            "--num_workers", type=int, default=0, help=f"number of {workers}; 0: one for each core (default: 0)"
        )


def add_output_option(parser: ArgumentParser, default: str | None, what: str = "folder to write into") -> None:
    """
    Add `--output_dir` as the last group of the help. Call it after all other options.

    Args:
        default: the default folder. None if the command chooses the folder, which `what` then describes.
        what: the help text without the default.
    """
    shown = " (default: %(default)s)" if default else ""
    parser.add_argument_group("output").add_argument(
        "--output_dir", type=Path, default=default and Path(default), help=what + shown
    )


def add_output_file_option(parser: ArgumentParser, default: str, what: str) -> None:
    """Add `--output_file`, for a command that writes a single file, in the place of `add_output_option`."""
    parser.add_argument_group("output").add_argument(
        "--output_file", type=Path, default=Path(default), metavar="FILE", help=f"{what} (default: %(default)s)"
    )
