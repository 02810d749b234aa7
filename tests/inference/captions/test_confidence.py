"""Cues of music and noise are left out by confidence, and none is lost without a record."""

import pytest

from deepspeech2.decoding.words import Word
from deepspeech2.inference.captions import Cue, Limits, Unsure, leave_out_unsure, make_cues

SPEECH = [Word("good", 0.0, 0.5, 0.9), Word("day", 0.6, 1.0, 0.2)]
NOISE = [Word("sz", 10.0, 10.4, 0.1), Word("a", 10.5, 10.6, 0.4)]
LATER = [Word("bye", 20.0, 20.5, 0.8)]


def leave_out(words: list[Word], raw_words: list[Word], limit: float) -> tuple:
    return leave_out_unsure(make_cues(words, Limits()), words, raw_words, limit)


def test_a_cue_is_judged_by_its_letters() -> None:
    """good day: (4 * 0.9 + 3 * 0.2) / 7 = 0.6; sz a: (2 * 0.1 + 1 * 0.4) / 3 = 0.2."""
    words = SPEECH + NOISE + LATER
    cues, kept, left_out = leave_out(words, words, 0.4)
    assert [cue.text for cue in cues] == ["good day", "bye"] and kept == SPEECH + LATER
    assert [(one.cue.text, one.confidence) for one in left_out] == [("sz a", pytest.approx(0.2))]
    assert [one.cue.text for one in leave_out(words, words, 0.7)[2]] == ["good day", "sz a"]


def test_0_keeps_all() -> None:
    words = SPEECH + NOISE
    assert leave_out(words, words, 0.0)[1:] == (words, [])


def test_the_acoustic_confidence_decides_and_not_that_of_the_decoder() -> None:
    """A language model writes other words and calibrates their confidences; greedy decoding has the model's own."""
    calibrated = [word._replace(confidence=0.05) for word in SPEECH]
    kept, left_out = leave_out(calibrated, SPEECH, 0.4)[1:]
    assert kept == calibrated and left_out == []
    sure = [Word("so", 10.0, 10.6, 0.99)]
    assert leave_out(sure, NOISE, 0.4)[2] == [Unsure(Cue(10.0, pytest.approx(10.0 + 5 / 6), "so"), pytest.approx(0.2))]
    assert leave_out(sure, SPEECH, 0.4)[1] == sure  # nothing was heard greedily there
    shorter = [Word("de", 0.0, 0.5, 0.1)]  # of "deeed", whose middle is at 0.6
    assert leave_out(shorter, [Word("deeed", 0.0, 1.2, 0.6), *LATER], 0.4)[1:] == (shorter, [])
    assert leave_out(shorter, [Word("deeed", 0.0, 1.2, 0.3)], 0.4)[2][0].confidence == pytest.approx(0.3)


def test_every_word_is_kept_or_listed() -> None:
    words = [Word("w" * (1 + place % 5), place, place + 0.5, (place * 7 % 10) / 10) for place in range(100)]
    cues, kept, left_out = leave_out(words, words, 0.5)
    texts = sorted([*cues, *(one.cue for one in left_out)])
    assert " ".join(cue.text.replace("\n", " ") for cue in texts).split() == [word.text for word in words]
    assert len(kept) == sum(len(cue.text.split()) for cue in cues)
