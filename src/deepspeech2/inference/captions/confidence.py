"""Leave out the cues of music and noise, in which a model is far less sure than in speech."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from ...decoding.words import Word
from .cues import Cue

# Of the starter, the mean confidence of a cue is 0.15 to 0.25 in steady noise, and at least 0.52 in clean speech.
MIN_CONFIDENCE = 0.4


class Unsure(NamedTuple):
    """A cue that is probably no speech, and the mean confidence of its letters."""

    cue: Cue
    confidence: float


def leave_out_unsure(
    cues: Sequence[Cue], words: Sequence[Word], raw_words: Sequence[Word], min_confidence: float
) -> tuple[list[Cue], list[Word], list[Unsure]]:
    """
    Leave out the cues whose letters have a low mean confidence.

    Args:
        cues: the cues of the words, in their order.
        words: the words of the decoder.
        raw_words: the words of greedy decoding, with confidences that are not calibrated. They are judged, so that a
            limit means the same for every decoder.
        min_confidence: the lowest mean confidence of a cue. 0 leaves nothing out.

    Returns:
        The cues and words that are kept, and the cues that are left out.
    """
    kept_cues: list[Cue] = []
    kept_words: list[Word] = []
    left_out: list[Unsure] = []
    starts_s, ends_s = [word.start_s for word in raw_words], [word.end_s for word in raw_words]
    middles_s = [(start_s + end_s) / 2 for start_s, end_s in zip(starts_s, ends_s, strict=True)]
    place = 0
    for cue in cues:
        own = words[place : place + len(cue.text.split())]
        place += len(own)
        start_s, end_s = own[0].start_s, own[-1].end_s
        inside = raw_words[bisect_left(middles_s, start_s) : bisect_right(middles_s, end_s)]
        # A decoder may shorten a word, so that the middle of the raw one lies behind the cue.
        judged = inside or raw_words[bisect_right(ends_s, start_s) : bisect_left(starts_s, end_s)] or own
        letters = sum(len(word.text) for word in judged)
        confidence = sum(word.confidence * len(word.text) for word in judged) / letters
        if confidence < min_confidence:
            left_out.append(Unsure(cue, confidence))
        else:
            kept_cues.append(cue)
            kept_words += own
    return kept_cues, kept_words, left_out
