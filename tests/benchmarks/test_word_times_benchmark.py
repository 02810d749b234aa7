"""benchmarks/word_times.py: errors of the words that both ways have; speech that is heard without fault."""

import numpy as np
import pytest
import word_times

import tiny
from deepspeech2.decoding.words import Word
from tone_model import random_text, tone_listener


def test_only_words_that_were_recognised_are_compared() -> None:
    """Of "a b c" and "a x c d", a and c: 0.1 and 0.3 s too late, ends 0.2 and 0.1 s too early."""
    aligned = [Word("a", 0, 1, 1), Word("b", 1, 2, 1), Word("c", 2, 3, 1)]
    heard = [Word("a", 0.1, 0.8, 1), Word("x", 1, 2, 1), Word("c", 2.3, 2.9, 1), Word("d", 3, 4, 1)]
    errors = word_times.time_errors_s(heard, aligned)
    np.testing.assert_allclose(errors, [[0.1, -0.2], [0.3, -0.1]])
    np.testing.assert_allclose(word_times.time_errors_s(heard, aligned, "substitute"), [[0.0, 0.0]])
    medians = {"start, median": 200, "start, 90th percentile": 280, "end, median": 150, "end, 90th percentile": 190}
    assert word_times.spread_ms(errors) == {"words": 2} | medians


def test_what_is_heard_without_fault_has_no_errors() -> None:
    """Six texts of 30 words; a frame is 20 ms."""
    texts = [random_text(30, seed) for seed in range(6)]
    clips = [tiny.tones(f"{text} ", np.random.default_rng(0)).astype(np.float32) for text in texts]
    figures = word_times.measure(tone_listener(), clips, texts)
    perfect = {"wer": 0.0, "hits": 180, "substitutions": 0, "deletions": 0, "insertions": 0}
    assert figures["joined"] == figures["clip by clip"] == perfect
    assert figures["left_out_s"] == 0 and figures["times of words mistaken, ms"] == {"words": 0}
    for kind in ("words recognised", "the script along the whole"):
        times = figures[f"times of {kind}, ms"]
        assert times["words"] == 180
        assert times["start, 90th percentile"] <= 20 and times["end, 90th percentile"] <= 20
    assert figures["duration_s"] == pytest.approx(sum(map(len, clips)) / tiny.RATE, abs=0.1)
