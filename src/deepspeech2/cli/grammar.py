"""
Check a grammar of voice commands: how many sentences it has, ambiguities, words that a model cannot write, and examples.

    deepspeech2 grammar home.yaml
    deepspeech2 grammar home.yaml --model MODEL --examples 50 --seed 1

The examples are balanced over commands, alternatives, values and lengths. The exit status is 1 if the model cannot
write a word.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.options import add_model_option, natural_number

if TYPE_CHECKING:
    from ..data.grammars.sentences import SentenceGraph


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("grammar", type=Path, metavar="GRAMMAR", help="YAML file of voice commands")
