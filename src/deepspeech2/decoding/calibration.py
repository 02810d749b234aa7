"""Calibrated confidences: of the words with confidence 0.7, 70 % are right. How to fit and to check them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

BINS = 10
_EDGE = 1e-6  # a raw confidence of exactly 0 or 1 has no log-odds


@dataclass(frozen=True)
class Calibration:
    """
    Platt scaling (J. Platt, 1999): calibrated log-odds = `slope` * raw log-odds + `offset`.

    Two numbers are enough. They keep the order of the words, so a threshold separates as well as before.
    """

    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Map raw confidences (N,) to calibrated ones (N,), both from 0 to 1."""
        return 1 / (1 + np.exp(-(self.slope * _log_odds(raw) + self.offset)))


def _log_odds(raw: np.ndarray) -> np.ndarray:
    clipped = np.clip(np.asarray(raw, np.float64), _EDGE, 1 - _EDGE)
    return np.log(clipped / (1 - clipped))


def fit_calibration(raw: np.ndarray, correct: np.ndarray) -> Calibration:
    """
    Fit the scaling by maximum likelihood.

    Args:
        raw: (N,) confidences from 0 to 1.
        correct: (N,) whether each word is right.

    Raises:
        ValueError: there are no words, or all of them are right, or all are wrong.
    """
    right = np.asarray(correct, bool)
    if len(right) == 0 or right.all() or not right.any():
        raise ValueError(
            f"{int(right.sum())} of the {len(right)} words are right; expected some right and some wrong words, to fit "
            "confidences to them: choose a split with more speech"
        )
    return Calibration(*fit_logistic(_log_odds(raw), right.astype(float)))


def fit_logistic(values: np.ndarray, shares: np.ndarray) -> tuple[float, float]:
    """Fit slope and offset of 1 / (1 + exp(-(slope * value + offset))) to `shares` (N,) by maximum likelihood."""
    import torch  # a decoder that uses a calibration needs no torch, which takes seconds to import
    from torch.nn.functional import binary_cross_entropy_with_logits

    inputs, targets = (torch.from_numpy(np.asarray(given, np.float64)) for given in (values, shares))
    numbers = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    # No steeper than this gradient asks for, where a threshold separates the shares.
    optimizer = torch.optim.LBFGS([numbers], max_iter=1000, tolerance_grad=1e-5, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = binary_cross_entropy_with_logits(numbers[0] * inputs + numbers[1], targets)
        value.backward()
        return value

    optimizer.step(loss)
    slope, offset = numbers.tolist()
    return slope, offset


class Bin(NamedTuple):
    """The number of words with similar confidence, their mean confidence, and the share of them that is right."""

    words: int
    confidence: float
    accuracy: float


def reliability(confidences: np.ndarray, correct: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Return the non-empty bins of equal width from 0 to 1. A confidence of 1.0 is in the last bin."""
    confidences, right = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    places = np.minimum((confidences * bins).astype(int), bins - 1)
    members = [places == place for place in range(bins) if (places == place).any()]
    return [Bin(int(of.sum()), float(confidences[of].mean()), float(right[of].mean())) for of in members]


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Return the gap between confidence and accuracy, averaged over the words (C. Guo et al., ICML 2017); 0 is best."""
    return sum(one.words * abs(one.confidence - one.accuracy) for one in bins) / sum(one.words for one in bins)
