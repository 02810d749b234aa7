"""Percentile bootstrap: how much a rate would vary with other speakers (Bisani and Ney, ICASSP 2004)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

BOOTSTRAP_SAMPLES = 1000

Interval = tuple[float, float]
Unit = Literal["speaker", "utterance", "nothing"]

_MAX_BLOCK = 2_000_000  # resampling weights in memory at a time: 16 MB


def clusters_of(speakers: Sequence[str]) -> tuple[Unit, NDArray[np.int64]]:
    """Return the unit of resampling, and the cluster number (N,) of every utterance.

    The utterances of one speaker are correlated, so resampling them one by one would make the interval too narrow. With
    fewer than two speakers, or an unknown speaker (""), the unit is the utterance. With one utterance it is "nothing".
    """
    if all(speakers) and len(set(speakers)) > 1:
        return "speaker", np.unique(list(speakers), return_inverse=True)[1].astype(np.int64)
    return ("utterance" if len(speakers) > 1 else "nothing"), np.arange(len(speakers))


def resample(sums: NDArray[np.int64], clusters: NDArray[np.int64], samples: int, seed: int) -> NDArray[np.int64]:
    """Draw whole clusters with replacement. Turns sums (N, C) per utterance into sums (samples, C) per resample."""
    num_clusters = int(clusters.max()) + 1
    totals = np.zeros((num_clusters, sums.shape[1]), np.int64)
    np.add.at(totals, clusters, sums)
    rng = np.random.default_rng(seed)
    equal = np.full(num_clusters, 1 / num_clusters)
    block = max(1, _MAX_BLOCK // num_clusters)
    sizes = [min(block, samples - start) for start in range(0, samples, block)]
    return np.concatenate([rng.multinomial(num_clusters, equal, size=size) @ totals for size in sizes])


def rates(errors: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return errors / lengths. If a length is 0, the rate is 0.0 without errors and `inf` with errors."""
    return np.where(lengths > 0, errors / np.maximum(lengths, 1), np.where(errors > 0, np.inf, 0.0))


def two_sided_p(share_better: float, share_worse: float, samples: int) -> float:
    """
    Return the two-sided p-value of a paired difference.

    For each sign, take the share of resamples without a difference of that sign. The p-value is twice the smaller
    share, at most 1. It is at least 2 / `samples`, because so many resamples cannot show a smaller one.
    """
    return min(1.0, max(2 * min(1 - share_better, 1 - share_worse), 2 / samples))


def percentile_interval(values: NDArray[np.float64]) -> Interval:
    """Return the 2.5 and 97.5 % percentiles. They are outer order statistics: infinite rates cannot be interpolated."""
    low = np.percentile(values, 2.5, method="lower")
    high = np.percentile(values, 97.5, method="higher")
    return float(low), float(high)
