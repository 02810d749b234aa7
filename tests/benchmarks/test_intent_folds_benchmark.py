"""benchmarks/intent_folds.py: a grammar is cut down to one meaning, and no recording is in training and test."""

from itertools import islice
from pathlib import Path

import intent_folds
import numpy as np
import pytest
from intent import Order

from deepspeech2.data.grammars.reading import read_grammar
from deepspeech2.data.grammars.sampling import sample_sentences

COFFEE = Path(__file__).parents[2] / "recipes" / "commands" / "coffee.yaml"


def sentences(command: str, **slots: str) -> set[str]:
    part = intent_folds.with_meaning(read_grammar(COFFEE), command, slots)
    assert part is not None
    return {one.text for one in islice(sample_sentences(part, np.random.default_rng(0)), 70)}


def test_only_sentences_with_the_meaning_are_left() -> None:
    """Slots that are not meant go, and those that are meant cannot be left out."""
    found = sentences("orderDrink", coffeeDrink="latte", size="small", roast="dark roast", milkAmount="some soy milk")
    assert {one for one in found if one.startswith("brew a ")} == {
        "brew a small dark roast latte with some soy milk",
        "brew a dark roast small latte with some soy milk",
    }
    assert all("small" in one and one.endswith("latte with some soy milk") for one in found)


@pytest.mark.parametrize("slots", [{"coffeeDrink": "tea"}, {"size": "small", "coffeeDrink": "latte", "syrup": "some"}])
def test_a_meaning_outside_the_grammar_has_no_sentence(slots) -> None:
    grammar = read_grammar(COFFEE)
    if "syrup" in slots:
        grammar.slots["syrup"] = {"some syrup": "some"}  # a slot that no sentence of the command has
    assert intent_folds.with_meaning(grammar, "orderDrink", slots) is None


def test_each_recording_is_in_one_part_and_among_the_others_of_the_rest() -> None:
    orders = [Order(str(number), np.zeros(1), "order", {}) for number in range(13)]
    divided = list(intent_folds.divide(orders, 5, seed=0))
    assert sorted(int(order.name) for part, _ in divided for order in part) == list(range(13))
    for part, others in divided:
        assert sorted(int(order.name) for order in [*part, *others]) == list(range(13))
    assert [order.name for order in divided[0][1]] != sorted(order.name for order in divided[0][1])
