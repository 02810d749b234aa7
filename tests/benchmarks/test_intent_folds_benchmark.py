"""benchmarks/intent_folds.py: no recording is in training and test."""

import intent_folds
import numpy as np
from intent import Order


def test_each_recording_is_in_one_part_and_among_the_others_of_the_rest() -> None:
    orders = [Order(str(number), np.zeros(1), "order", {}) for number in range(13)]
    divided = list(intent_folds.divide(orders, 5, seed=0))
    assert sorted(int(order.name) for part, _ in divided for order in part) == list(range(13))
    for part, others in divided:
        assert sorted(int(order.name) for order in [*part, *others]) == list(range(13))
    assert [order.name for order in divided[0][1]] != sorted(order.name for order in divided[0][1])
