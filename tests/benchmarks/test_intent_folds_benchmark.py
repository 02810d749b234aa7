"""benchmarks/intent_folds.py: no recording is in training and test, and no model stands for that of another fold."""

from pathlib import Path

import intent_folds
import numpy as np
import pytest
from intent import Order


def test_each_recording_is_in_one_part_and_among_the_others_of_the_rest() -> None:
    orders = [Order(str(number), np.zeros(1), "order", {}) for number in range(13)]
    divided = list(intent_folds.divide(orders, 5, seed=0))
    assert sorted(int(order.name) for part, _ in divided for order in part) == list(range(13))
    for part, others in divided:
        assert sorted(int(order.name) for order in [*part, *others]) == list(range(13))
    assert [order.name for order in divided[0][1]] != sorted(order.name for order in divided[0][1])


def test_a_model_that_was_made_with_other_values_is_refused(tmp_path: Path) -> None:
    facts = {"folds": 5, "settings": ["--max_steps", "9"], "tested on": ["a.wav"]}
    for _ in range(2):  # nothing is trained yet
        intent_folds.claim(tmp_path / "fold-0", facts | {"folds": 4})
    intent_folds.claim(tmp_path / "fold-0", facts)
    (tmp_path / "fold-0" / "model").mkdir()
    intent_folds.claim(tmp_path / "fold-0", facts)
    with pytest.raises(
        ValueError, match=r"fold-0 has a model that was made with other values of folds, settings \(see fold.json"
    ):
        intent_folds.claim(tmp_path / "fold-0", facts | {"folds": 4, "settings": []})
    (tmp_path / "old" / "model").mkdir(parents=True)  # by an earlier version
    with pytest.raises(ValueError, match="other values of folds, settings, tested on"):
        intent_folds.claim(tmp_path / "old", facts)


def test_recordings_of_another_division_go(tmp_path: Path) -> None:
    orders = [Order(f"{name}.wav", np.zeros(800, np.float32), "order", {}) for name in "ab"]
    intent_folds.write_recordings(orders, {"a.wav": "x", "b.wav": "y"}, 8000, tmp_path / "recordings")
    intent_folds.write_recordings(orders[1:], {"b.wav": "y"}, 8000, tmp_path / "recordings")
    assert sorted(path.name for path in (tmp_path / "recordings").iterdir()) == ["b.wav", "metadata.csv"]
