"""Utterances are found between pauses, whole, and nothing is kept of silence."""

import numpy as np
import pytest

from deepspeech2.inference.streaming import Endpointer

FRAME_S = 0.1
BLANK, SPACE = 0, 1


def rows(text: str) -> np.ndarray:
    """(frames, 4) log-probabilities: '.' blank, '_' space, 'a' and 'b' letters."""
    return np.log(0.01 + np.eye(4, dtype=np.float32)[["._ab".index(letter) for letter in text]])


def endpointer(**options) -> Endpointer:
    """Silence of 4 frames, lead of 2, at most 20."""
    return Endpointer(BLANK, SPACE, FRAME_S, **({"silence_s": 0.4, "lead_s": 0.2, "longest_s": 2.0} | options))


def found(text: str, size: int = 1, levels=None, **options) -> list[str]:
    """Letters of the utterances, pushed `size` frames at a time; each checked against its place in the stream."""
    one, said = endpointer(**options), []
    log_probs = rows(text)
    for start in range(0, len(text), size):
        more = None if levels is None else np.asarray(levels[start : start + size])
        said += one.push(log_probs[start : start + size], more)
    said += one.finish()
    letters = []
    for utterance in said:
        first, last = round(utterance.start_s / FRAME_S + 0.5), round(utterance.end_s / FRAME_S + 0.5)
        if utterance.start_s > 0:
            np.testing.assert_array_equal(utterance.log_probs, log_probs[first:last])
        letters.append("".join("._ab"[index] for index in utterance.log_probs.argmax(1)))
    return letters


@pytest.mark.parametrize("size", [1, 3, 100])
def test_utterances_end_with_a_pause_and_keep_a_lead(size: int) -> None:
    text = ".......ab..a_._...........b.a"
    # two frames before the first letter; four of pause, blanks and spaces alike; what is there when it all ends
    assert found(text, size) == ["..ab..a_._.", "..b.a"]


def test_an_utterance_knows_where_it_was() -> None:
    one = endpointer()
    (utterance,) = one.push(rows(".....aab......"))
    # frames 3 to 11, each from half a frame before its middle
    assert (utterance.start_s, utterance.end_s) == pytest.approx((2.5 * FRAME_S, 11.5 * FRAME_S))
    assert utterance.spoken_s == pytest.approx((4.5 * FRAME_S, 7.5 * FRAME_S))
    assert utterance.log_probs.shape == (9, 4)


def test_silence_is_no_utterance_and_is_not_kept() -> None:
    one = endpointer()
    assert list(one.push(rows("._" * 500))) == []
    assert len(one._rows) == 2
    assert list(one.finish()) == []


def test_without_a_pause_it_ends_at_the_longest_one_of_the_second_half() -> None:
    text = "ab" * 6 + ".a..ab.b" + "ab" * 2
    # 20 frames: the pause at 14, 15 is the longest behind the tenth; it is cut in its middle
    assert found(text) == ["ab" * 6 + ".a.", ".ab.b" + "ab" * 2]
    assert found("a" * 50) == ["a" * 20, "a" * 20, "a" * 10]


def test_loud_blanks_count_half() -> None:
    text = "..ab" + "." * 12
    quiet, loud = [-60.0] * 4 + [-58.0] * 12, [-60.0] * 4 + [-20.0] * 12
    assert found(text, levels=quiet) == ["..ab...."]  # and the noise itself is not loud
    assert found(text, levels=loud) == ["..ab........"]
    # beside digital silence anything would be loud: what is below -60 + 12 dB is not
    assert found(text, levels=[-120.0] * 4 + [-50.0] * 12) == ["..ab...."]


def test_wrong_durations_are_refused() -> None:
    with pytest.raises(ValueError, match=r"silence_s is 0\.05.*at least one frame \(0\.1 s\)"):
        endpointer(silence_s=0.05)
    with pytest.raises(ValueError, match=r"longest_s is 1\.0; expected"):
        endpointer(longest_s=1.0)
