"""Rates and paired differences over seeds: what they add up to, and how often they are wrong."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from deepspeech2.evaluation.metrics import (
    Counts,
    ScoredUtterance,
    Scores,
    Utterance,
    compare,
    compare_over_seeds,
    over_seeds,
    score,
)
from deepspeech2.evaluation.metrics.seeds import SeededScores
from deepspeech2.evaluation.reports import few_speakers


def heard(wrong: int, count: int = 10, speaker: str = "") -> list[Utterance]:
    """A word by each of so many speakers, or all by one; the first ones are wrong."""
    return [Utterance(f"u{n}", speaker or f"s{n}", 1.0, "yes", "no" if n < wrong else "yes") for n in range(count)]


def test_the_rate_is_that_of_all_runs():
    scores = over_seeds({1: heard(2), 2: heard(4)})
    assert scores.wer == 6 / 20 and scores.wers == [0.2, 0.4]
    low, high = scores.wer_interval
    assert low < 0.2 and high > 0.4  # seed 1 alone has 20 %, and is drawn twice in a quarter of the resamples


def test_what_is_drawn_is_a_speaker_or_a_clip_of_a_single_one():
    """Two speakers, all wrong and all right: half of the resamples have one of them twice. By clips it is 10 of 20."""
    of_two = [*heard(10, 10, "ann"), *(one for one in heard(0, 20, "bob")[10:])]
    assert over_seeds({1: of_two}).wer_interval == (0.0, 1.0)
    low, high = over_seeds({1: heard(10, 20, "ann")}).wer_interval
    assert 0.2 < low < 0.35 and 0.65 < high < 0.8  # 0.5 -+ 1.96 * sqrt(0.25 / 20) = 0.28 to 0.72


def test_clips_are_drawn_if_a_speaker_is_unknown():
    of_two = [*heard(1, 2, "ann"), *(one for one in heard(0, 4, "bob")[2:])]
    assert over_seeds({1: of_two, 2: of_two}).num_units == 2
    unknown = replace(of_two[0], speaker_id="")
    assert over_seeds({1: [unknown, *of_two[1:]], 2: [unknown, *of_two[1:]]}).num_units == 4


def test_seeds_are_drawn_too():
    """Each seed is the same for all speakers: without seeds nothing varies, with two the mean is 0, 0.5 or 1."""
    scores = over_seeds({1: heard(0), 2: heard(10)})
    assert scores.wer_interval == (0.0, 1.0)
    assert over_seeds({1: heard(10)}).wer_interval == (1.0, 1.0)


def test_a_difference_is_paired_by_seed_and_clip():
    """Both vary between 0 and 1 with the seed and the speaker, but b is always one word of ten better."""
    a, b = over_seeds({1: heard(10), 2: heard(2)}), over_seeds({1: heard(9), 2: heard(1)})
    difference = compare_over_seeds(a, b)
    assert difference.wer_difference == pytest.approx(-0.1)
    low, high = difference.wer_interval
    assert -0.5 < low < -0.1 < high <= 0.0
    assert compare_over_seeds(b, a).wer_interval == pytest.approx((-high, -low), abs=0.05)
    same = compare_over_seeds(a, a)
    assert same.wer_difference == 0 and same.wer_interval == (0, 0) and same.p_value == 1.0


def test_seeds_are_paired_by_their_number():
    a, b = over_seeds({1: heard(10), 2: heard(2)}), over_seeds({2: heard(1), 1: heard(9)})
    low, high = compare_over_seeds(a, b).wer_interval
    assert -0.5 < low < high <= 0.0


def test_what_cannot_be_paired():
    with pytest.raises(ValueError, match=r"cannot pair the seeds \[1\] with \[1, 2\]"):
        compare_over_seeds(over_seeds({1: heard(1)}), over_seeds({1: heard(1), 2: heard(1)}))
    with pytest.raises(
        ValueError, match=r"for seed 1 the two methods have different utterances or references: 1 \(u9\)"
    ):
        compare_over_seeds(over_seeds({1: heard(1)}), over_seeds({1: heard(1, 9)}))


def counted(utterances: Sequence[ScoredUtterance]) -> Scores:
    words = sum((one.words for one in utterances), Counts())
    return Scores(tuple(utterances), words, Counts(), None, None, "nothing", 0, {})


def heard_so_many(n: int, wrong: int, count: int) -> ScoredUtterance:
    """What `score` makes of `count` words, the first of them wrong; aligning millions would be most of a simulation."""
    return ScoredUtterance(f"u{n}", f"s{n}", 1.0, "", "", Counts(count - wrong, wrong), Counts(), ())


def test_so_many_words_are_counted_as_they_are_scored():
    spoken = Utterance("u0", "s0", 1.0, "yes yes yes", "no no yes")
    assert score([spoken], bootstrap_samples=0).words == counted([heard_so_many(0, 2, 3)]).words


def simulated(
    rng: np.random.Generator,
    speakers: np.ndarray,
    gain: float | np.ndarray,
    seed_spread: float,
    words: Sequence[int] | None = None,
) -> SeededScores:
    """Three runs on 40 words of each speaker, of whose own rate of errors a seed changes something for all."""
    lengths = words or [40] * len(speakers)
    runs: dict[int, Scores] = {}
    for seed in (1, 2, 3):
        rates = np.clip(speakers - gain + rng.normal(0, seed_spread), 0, 1)
        spoken = zip(rng.binomial(lengths, rates).tolist(), lengths, strict=True)
        runs[seed] = counted([heard_so_many(n, wrong, count) for n, (wrong, count) in enumerate(spoken)])
    return SeededScores(runs)


def by_speakers_alone(a: SeededScores, b: SeededScores) -> float:
    """The paired bootstrap with the seeds' utterances pooled."""
    pooled = [
        counted([replace(one, id=f"{seed} {one.id}") for seed, run in some.runs.items() for one in run.utterances])
        for some in (a, b)
    ]
    p_value = compare(*pooled).p_value
    assert p_value is not None
    return p_value


def test_a_planted_difference_is_found_and_a_null_is_not():
    """30 speakers; the errors' rate lies at 40 %, less 8 points where the difference is planted."""
    rng = np.random.default_rng(0)
    speakers = rng.normal(0.4, 0.05, 30)
    planted = [
        compare_over_seeds(simulated(rng, speakers, 0, 0.01), simulated(rng, speakers, 0.08, 0.01)).p_value
        for _ in range(5)
    ]
    null = [
        compare_over_seeds(simulated(rng, speakers, 0, 0.01), simulated(rng, speakers, 0, 0.01)).p_value
        for _ in range(10)
    ]
    assert max(planted) < 0.05 and min(null) > 0.05


def test_how_often_a_null_is_taken_for_a_difference():
    """Where seeds differ by 2 points, speakers alone find differences that are none in a fifth of the cases."""
    rng = np.random.default_rng(1)
    found = np.zeros(2)
    for _ in range(100):
        speakers = rng.normal(0.4, 0.05, 20)
        a, b = (simulated(rng, speakers, 0, 0.02) for _ in range(2))
        found += [compare_over_seeds(a, b).p_value < 0.05, by_speakers_alone(a, b) < 0.05]
    assert found[0] <= 8 and found[1] >= 10, found


@pytest.mark.parametrize("words, is_enough", [([300] * 10, True), ([2000, 1460, 100, 40, 20], False)])
def test_how_many_speakers_are_enough(words: list[int], is_enough: bool):
    """Where a strategy is good for one speaker and bad for another: two who have most of the words are too few."""
    rng = np.random.default_rng(1)
    found = 0
    for _ in range(200):
        speakers = rng.normal(0.5, 0.05, len(words))
        by_speaker = rng.normal(0.0, 0.06, len(words))
        a, b = simulated(rng, speakers, 0.0, 0.0, words), simulated(rng, speakers, by_speaker, 0.0, words)
        found += compare_over_seeds(a, b).p_value < 0.05
    assert (found <= 20) is is_enough and (few_speakers(a) == "") is is_enough, found
