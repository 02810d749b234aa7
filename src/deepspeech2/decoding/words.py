"""The words that a decoder returns, with times and confidences. Importing this module loads no libraries."""

from typing import NamedTuple


class Character(NamedTuple):
    """A letter and its times in seconds."""

    text: str
    start_s: float
    end_s: float


class Word(NamedTuple):
    """
    A word, from the first frame of its first letter to the last frame of its last letter, in seconds.

    `confidence` is the geometric mean of the probabilities of the letters. With a calibration in the decoder's options
    it estimates the probability that the word is right. `characters` may be empty.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float
    characters: tuple[Character, ...] = ()


class Hypothesis(NamedTuple):
    """A decoded text and its words."""

    text: str
    words: tuple[Word, ...]
