"""`python -m deepspeech2`, also `accelerate launch -m deepspeech2`."""

import sys

from .cli.main import console

sys.argv[0] = "deepspeech2"  # the name in messages, in place of this file's
console()
