"""Score a training method over several seeds: rates and paired differences, with intervals over speakers and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bootstrap import BOOTSTRAP_SAMPLES, Interval, clusters_of, percentile_interval, rates, two_sided_p
from .scores import Scores, Utterance, score


@dataclass(frozen=True)
class SeededScores:
    """
    The scores of one training method, by seed.

    Both the speakers and the seeds are random samples. The bootstrap therefore draws speakers (clips, if there is one
    speaker) and seeds, with replacement and independently: Owen, "The pigeonhole bootstrap", Annals of Applied
    Statistics 1(2), 2007. Simulations of the following properties are in tests/evaluation/metrics/test_seeds.py.

    - With many speakers the intervals are somewhat too wide, because variation that belongs to neither the speaker nor
      the seed is counted more than once. True differences are then found less often than with a bootstrap over speakers
      only. That bootstrap, however, attributes the effect of a seed on all speakers to the strategy.
    - With few speakers, or if a few have most of the words, the intervals are too narrow, as with any bootstrap. See
      `num_effective`.
    - The variance over S drawn seeds is (S - 1) / S of the variance over new seeds, so two or three seeds show little.
      A single seed is not resampled.
    """

    runs: Mapping[int, Scores]

    @property
    def wers(self) -> list[float]:
        """The WER of each seed, as a fraction."""
        return [scores.wer for scores in self.runs.values()]

    @property
    def wer(self) -> float:
        """The WER over the words of all runs. It is the mean of the seeds if all have the same utterances."""
        errors, lengths = _tables(self)
        return float(rates(errors.sum(), lengths.sum()))

    @property
    def num_units(self) -> int:
        """The number of speakers, or clips, that the bootstrap draws from."""
        return _tables(self)[1].shape[1]

    @property
    def num_effective(self) -> float:
        """The effective number of speakers (or clips): 1 / sum of the squares of their shares of the words."""
        words = _tables(self)[1].sum(axis=0)
        return float(words.sum() ** 2 / np.square(words).sum())

    @property
    def wer_interval(self) -> Interval:
        """The 95 % interval of the WER, from 1,000 resamples."""
        return percentile_interval(_resample(self, BOOTSTRAP_SAMPLES))


@dataclass(frozen=True)
class SeededDifference:
    """The paired difference `b` - `a` as fractions, negative if `b` makes fewer errors. See `compare_over_seeds`."""

    wer_difference: float
    wer_interval: Interval
    p_value: float


def over_seeds(runs: Mapping[int, Sequence[Utterance]]) -> SeededScores:
    return SeededScores({seed: score(utterances, bootstrap_samples=0) for seed, utterances in runs.items()})


def compare_over_seeds(
    a: SeededScores, b: SeededScores, bootstrap_samples: int = BOOTSTRAP_SAMPLES
) -> SeededDifference:
    """
    Compare two training methods, paired by seed and by utterance.

    Each resample has the same speakers and seeds for both methods. Methods with the same seed share everything that
    depends on it, such as the draw of the data. The p-value comes from `two_sided_p`.

    Raises:
        ValueError: the two have different seeds, utterances or references.
    """
    if a.runs.keys() != b.runs.keys():
        raise ValueError(f"cannot pair the seeds {sorted(a.runs)} with {sorted(b.runs)}; train both with the same")
    for seed, scores in a.runs.items():
        references, others = ({one.id: one.reference for one in some.utterances} for some in (scores, b.runs[seed]))
        if differing := sorted(key for key in references | others if references.get(key) != others.get(key)):
            raise ValueError(
                f"for seed {seed} the two methods have different utterances or references: {len(differing)} "
                f"({', '.join(differing[:5])}); score both on the same split with the same normalisation"
            )
    drawn = _resample(b, bootstrap_samples) - _resample(a, bootstrap_samples)
    return SeededDifference(
        wer_difference=b.wer - a.wer,
        wer_interval=percentile_interval(drawn),
        p_value=two_sided_p(float(np.mean(drawn < 0)), float(np.mean(drawn > 0)), bootstrap_samples),
    )


def _tables(one: SeededScores) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return word errors and reference words, each (seeds, speakers or clips), in an order that depends only on ids."""
    speakers = {utterance.id: utterance.speaker_id for scores in one.runs.values() for utterance in scores.utterances}
    ids = sorted(speakers)
    _, clusters = clusters_of([speakers[name] for name in ids])
    place = dict(zip(ids, clusters.tolist(), strict=True))
    tables = np.zeros((2, len(one.runs), int(clusters.max()) + 1), np.int64)
    for row, seed in enumerate(sorted(one.runs)):
        for utterance in one.runs[seed].utterances:
            tables[:, row, place[utterance.id]] += utterance.error_sums()[:2]
    return tables[0], tables[1]


def _resample(one: SeededScores, samples: int) -> NDArray[np.float64]:
    """Return the WER (samples,) of each resample. Draws depend only on the numbers of seeds and units, so they pair."""
    errors, lengths = _tables(one)
    num_seeds, num_units = errors.shape
    rng = np.random.default_rng(0)
    seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=samples)
    units = rng.multinomial(num_units, np.full(num_units, 1 / num_units), size=samples)
    return rates(*(((units @ table.T) * seeds).sum(axis=1) for table in (errors, lengths)))
