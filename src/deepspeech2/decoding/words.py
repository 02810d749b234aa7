"""What a decoder finds: words, with times and confidences. Loads nothing heavy."""

from typing import NamedTuple


class Character(NamedTuple):
    text: str
    start_s: float
    end_s: float


class Word(NamedTuple):
    """
    A word from the first frame of its first letter to the last of its last, in seconds.

    `confidence` is the geometric mean of the probabilities of its letters, calibrated if the decoder's options say how:
    then it is the share of such words that are right. `characters` may be left out.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float
    characters: tuple[Character, ...] = ()


class Hypothesis(NamedTuple):
    text: str
    words: tuple[Word, ...]
