"""Confidences that mean something: 70 % of the words with 0.7 are right. Their fit, and how far off they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

BINS = 10
_EDGE = 1e-6  # a raw confidence of exactly 0 or 1 has no log-odds


@dataclass(frozen=True)
class Calibration:
    """
    Platt scaling (J. Platt, 1999): the log-odds of a raw confidence, times `slope`, plus `offset`.

    Two numbers suffice, and they keep the order of the words, so that a threshold separates as well as before.
    """

    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """(N,) from 0 to 1 -> (N,) from 0 to 1."""
        return 1 / (1 + np.exp(-(self.slope * _log_odds(raw) + self.offset)))


def _log_odds(raw: np.ndarray) -> np.ndarray:
    clipped = np.clip(np.asarray(raw, np.float64), _EDGE, 1 - _EDGE)
    return np.log(clipped / (1 - clipped))


def fit_calibration(raw: np.ndarray, correct: np.ndarray) -> Calibration:
    """
    The scaling under which the words' being right is likeliest.

    Args:
        raw: (N,) confidences from 0 to 1.
        correct: (N,) whether each word was right.

    Raises:
        ValueError: all words are right, all are wrong, or there are none: nothing tells one from the other.
    """
    right = np.asarray(correct, bool)
    if len(right) == 0 or right.all() or not right.any():
        raise ValueError(
            f"{int(right.sum())} of the {len(right)} words are right; confidences are fitted to words of which some "
            "are right and some wrong: give a split with more speech"
        )
    return Calibration(*fit_logistic(_log_odds(raw), right.astype(float)))


def fit_logistic(values: np.ndarray, shares: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the curve 1 / (1 + exp(-(slope value + offset))) under which `shares` (N,) are likeliest."""

    def loss(numbers: np.ndarray) -> float:
        logits = numbers[0] * values + numbers[1]
        return float((np.logaddexp(0, logits) - shares * logits).mean())

    slope, offset = minimize(loss, np.array([1.0, 0.0]), method="BFGS").x
    return float(slope), float(offset)


class Bin(NamedTuple):
    """Words of like confidence: how many, what they claim on average, and what share of them is right."""

    words: int
    confidence: float
    accuracy: float


def reliability(confidences: np.ndarray, correct: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Bins of equal width from 0 to 1, without the empty ones; 1.0 belongs to the last."""
    confidences, right = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    places = np.minimum((confidences * bins).astype(int), bins - 1)
    members = [places == place for place in range(bins) if (places == place).any()]
    return [Bin(int(of.sum()), float(confidences[of].mean()), float(right[of].mean())) for of in members]


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """The gap between claim and truth, averaged over the words (C. Guo et al., ICML 2017); 0 is perfect."""
    return sum(one.words * abs(one.confidence - one.accuracy) for one in bins) / sum(one.words for one in bins)
