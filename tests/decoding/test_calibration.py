"""Confidences against the truth, on cases whose arithmetic shows."""

import numpy as np
import pytest

from deepspeech2.decoding.calibration import Bin, Calibration, expected_calibration_error, fit_calibration, reliability


def test_the_error_of_a_known_case():
    """Four words at 0.95 of which three are right, one at 0.15 that is wrong: (4 * 0.2 + 1 * 0.15) / 5."""
    confidences, right = np.array([0.95] * 4 + [0.15]), np.array([1, 1, 1, 0, 0], bool)
    bins = reliability(confidences, right)
    assert [one.words for one in bins] == [1, 4]
    assert bins[1][1:] == pytest.approx((0.95, 0.75))
    assert expected_calibration_error(bins) == pytest.approx((4 * 0.2 + 1 * 0.15) / 5)
    assert expected_calibration_error([Bin(10, 0.7, 0.7)]) == 0
    assert reliability(np.array([1.0, 0.0]), np.array([True, False])) == [Bin(1, 0.0, 0.0), Bin(1, 1.0, 1.0)]


def test_the_scaling_that_made_the_truth_is_found():
    """20,000 words, right with the chance that slope 0.8 and offset -0.5 give."""
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.02, 0.98, 20_000)
    made = Calibration(0.8, -0.5)
    right = rng.uniform(size=raw.size) < made(raw)
    found = fit_calibration(raw, right)
    assert (found.slope, found.offset) == pytest.approx((0.8, -0.5), abs=0.06)
    before, after = (expected_calibration_error(reliability(values, right)) for values in (raw, found(raw)))
    assert after < 0.015 < 0.05 < before


def test_a_scaling_of_one_and_zero_changes_nothing_but_the_ends():
    assert Calibration()(np.array([0.0, 0.25, 1.0])) == pytest.approx([0, 0.25, 1], abs=2e-6)


@pytest.mark.parametrize("right", [[], [True, True], [False]])
def test_nothing_is_fitted_to_one_kind_of_words(right):
    with pytest.raises(ValueError, match="expected some right and some wrong words"):
        fit_calibration(np.full(len(right), 0.5), np.array(right, bool))
