"""A training method over several seeds: rates and paired differences, with what speakers and seeds leave open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bootstrap import BOOTSTRAP_SAMPLES, Interval, percentile_interval, rates, two_sided_p
from .scores import Scores, Utterance, score


@dataclass(frozen=True)
class SeededScores:
    """
    Runs of one training method, by seed.

    Both who speaks and which seeds were run are chance: the intervals are of the bootstrap that draws speakers (clips,
    where there is one speaker) and seeds, each with replacement and independently of the other: Owen, "The pigeonhole
    bootstrap", Annals of Applied Statistics 1(2), 2007. With many speakers it is rather too wide: what is neither the
    speaker's nor the seed's is counted more than once, and a true difference is found less often than by a bootstrap of
    speakers alone, which in turn takes what a seed does to all speakers for the strategy's doing. With few, or where
    few have most of the words, it is too narrow, as any bootstrap: see `num_effective`. Simulations of all of it are in
    tests/evaluation/metrics/test_seeds.py.
    Of S seeds the drawn ones vary (S - 1) / S as much as new seeds would: two or three say little. One is taken as is.
    """

    runs: Mapping[int, Scores]

    @property
    def wers(self) -> list[float]:
        """Of each seed, a fraction."""
        return [scores.wer for scores in self.runs.values()]

    @property
    def wer(self) -> float:
        """Of all runs' words together: the mean of the seeds, where all are scored on the same utterances."""
        errors, lengths = _tables(self)
        return float(rates(errors.sum(), lengths.sum()))

    @property
    def num_units(self) -> int:
        """What the bootstrap draws from: speakers, or clips."""
        return _tables(self)[1].shape[1]

    @property
    def num_effective(self) -> float:
        """How many speakers (clips) of equal size vary as these do: 1 / sum of the squares of their shares of words."""
        words = _tables(self)[1].sum(axis=0)
        return float(words.sum() ** 2 / np.square(words).sum())

    @property
    def wer_interval(self) -> Interval:
        """95 %, of 1,000 resamples."""
        return percentile_interval(_resample(self, BOOTSTRAP_SAMPLES))


@dataclass(frozen=True)
class SeededDifference:
    """`b` - `a` as fractions: below 0 `b` makes fewer errors. The interval and the p-value are paired, see there."""

    wer_difference: float
    wer_interval: Interval
    p_value: float


def over_seeds(runs: Mapping[int, Sequence[Utterance]]) -> SeededScores:
    return SeededScores({seed: score(utterances, bootstrap_samples=0) for seed, utterances in runs.items()})


def compare_over_seeds(
    a: SeededScores, b: SeededScores, bootstrap_samples: int = BOOTSTRAP_SAMPLES
) -> SeededDifference:
    """
    Two training methods, seed by seed and clip by clip.

    A resample holds the same speakers and the same seeds of both: with a seed goes all that the two share, such as the
    draw of the data. The p-value is that of `two_sided_p`.

    Raises:
        ValueError: other seeds, other utterances, or other references.
    """
    if a.runs.keys() != b.runs.keys():
        raise ValueError(f"seeds {sorted(a.runs)} cannot be paired with {sorted(b.runs)}; run both with the same ones")
    for seed, scores in a.runs.items():
        references, others = ({one.id: one.reference for one in some.utterances} for some in (scores, b.runs[seed]))
        if differing := sorted(key for key in references | others if references.get(key) != others.get(key)):
            raise ValueError(
                f"seed {seed} was scored on other utterances, or against other references: {len(differing)} "
                f"({', '.join(differing[:5])}); score both on the same split with the same normalisation"
            )
    drawn = _resample(b, bootstrap_samples) - _resample(a, bootstrap_samples)
    return SeededDifference(
        wer_difference=b.wer - a.wer,
        wer_interval=percentile_interval(drawn),
        p_value=two_sided_p(float(np.mean(drawn < 0)), float(np.mean(drawn > 0)), bootstrap_samples),
    )


def _tables(one: SeededScores) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Word errors and reference words, each (seeds, speakers or clips), in an order that ids alone decide."""
    utterances = [utterance for scores in one.runs.values() for utterance in scores.utterances]
    speakers = {utterance.speaker_id for utterance in utterances}
    alone = len(speakers) == 1 or "" in speakers
    units = sorted({utterance.id for utterance in utterances} if alone else speakers)
    place = {unit: index for index, unit in enumerate(units)}
    tables = np.zeros((2, len(one.runs), len(units)), np.int64)
    for row, seed in enumerate(sorted(one.runs)):
        for utterance in one.runs[seed].utterances:
            column = place[utterance.id if alone else utterance.speaker_id]
            tables[:, row, column] += utterance.error_sums()[:2]
    return tables[0], tables[1]


def _resample(one: SeededScores, samples: int) -> NDArray[np.float64]:
    """The WER (samples,) of each resample; the draws depend on the numbers of seeds and units alone, and so pair."""
    errors, lengths = _tables(one)
    num_seeds, num_units = errors.shape
    rng = np.random.default_rng(0)
    seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=samples)
    units = rng.multinomial(num_units, np.full(num_units, 1 / num_units), size=samples)
    return rates(*(((units @ table.T) * seeds).sum(axis=1) for table in (errors, lengths)))
