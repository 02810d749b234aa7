"""
Converts a checkpoint of deepspeech.pytorch, of any version, to a model folder for this package and transformers.

    python recipes/convert.py CHECKPOINT OUT

Nothing in the checkpoint is executed, and neither deepspeech.pytorch nor omegaconf nor Lightning is needed. OUT is then
a model_name_or_path of finetune.py and a model of score.py.
"""

import argparse
import sys
from pathlib import Path

from deepspeech2.cli.convert import convert_deepspeech_pytorch
from deepspeech2.system.command_line import end_run


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    print(convert_deepspeech_pytorch(args.checkpoint, args.folder))


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help=".pth (v1 to v2.1) or .ckpt (V3)")
    parser.add_argument("folder", type=Path, metavar="OUT", help="new folder for the model")
    return parser


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (KeyboardInterrupt, ValueError, OSError) as error:
        end_run("convert.py", error)
