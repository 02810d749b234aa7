"""`python -m deepspeech2`, also `accelerate launch -m deepspeech2`."""

import sys

from .cli.main import console

sys.argv[0] = "deepspeech2"  # the name in messages, instead of the path of this file
console()
