"""benchmarks/intent.py: noise is mixed as in the benchmark, and what becomes of an order is counted."""

import json
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import intent
import numpy as np
import pytest
import soundfile

import tiny
from deepspeech2.data.grammars.reading import read_grammar
from deepspeech2.data.grammars.sampling import sample_sentences
from deepspeech2.inference.voice_commands.recognition import CommandRecogniser
from tone_model import tone_listener

COFFEE = Path(__file__).parents[2] / "recipes" / "commands" / "coffee.yaml"


def test_the_ratio_is_that_of_the_loudest_frames() -> None:
    """
    Speech has frames of power 0.01 and 0.04, noise of 0.0001 and 0.0009, and both a loud rest that is no whole frame.
    At 6 dB the noise is scaled by sqrt(0.04 / (0.0009 * 10 ** 0.6)) = 3.341.
    """
    speech = np.repeat([0.1, 0.2, 0.9], [2048, 2048, 100]).astype(np.float32)
    noise = np.repeat([0.01, -0.03, 0.9], [2048, 2048, 100]).astype(np.float32)
    assert intent.loudest_frame(speech) == pytest.approx(0.04)
    mixed = intent.mix(speech, noise, 6)
    assert np.abs(mixed).max() == pytest.approx(0.5)
    whole = [0.1 + 0.01 * 3.341, 0.2 - 0.03 * 3.341, 0.9 + 0.9 * 3.341]
    assert mixed[[0, 2048, 4096]] == pytest.approx([one / (2 * whole[2]) for one in whole], rel=1e-3)


def test_noise_begins_at_a_random_place_and_is_repeated() -> None:
    noise = np.arange(10.0)
    starts = {float(intent.stretch(noise, 4, np.random.default_rng(seed))[0]) for seed in range(50)}
    assert starts == set(map(float, range(7)))
    assert intent.stretch(noise, 12, np.random.default_rng(0)).tolist() == [*range(10), 0, 1]


def test_outcomes_are_counted() -> None:
    """A rejected order counts as an error even if its likeliest sentence is right, and so does a slot too many."""
    orders = [intent.Order(str(number), np.zeros(1), "order", {"size": "large"}) for number in range(4)]

    def heard(name: str | None, best: str, **slots: str) -> SimpleNamespace:
        return SimpleNamespace(name=name, best=best, slots=slots, accepted=name is not None)

    found = intent.shares(
        orders,
        [
            heard("order", "order", size="large"),
            heard(None, "order", size="large"),
            heard("order", "order", size="large", milk="milk"),
            heard("stop", "stop"),
        ],
    )
    assert found == {
        "right and accepted": 25,
        "likeliest is right": 50,
        "rejected": 25,
        "accepted, wrong command": 25,
        "accepted, wrong slots": 25,
    }


def test_recordings_are_read_with_their_labels(tmp_path) -> None:
    (tmp_path / "speech").mkdir()
    labels = {f"{name}.wav": {"command": "order", "slots": {"size": name}} for name in ("small", "large")}
    (tmp_path / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    for name in labels:
        soundfile.write(tmp_path / "speech" / name, np.full(800, 0.25), 8000)
    orders = intent.load_orders(tmp_path, 16000)
    assert [order.slots["size"] for order in orders] == ["large", "small"]
    assert all(len(order.samples) == 1600 for order in orders)


def sentences(command: str, **slots: str) -> set[str]:
    part = intent.with_meaning(read_grammar(COFFEE), command, slots)
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
    assert intent.with_meaning(grammar, "orderDrink", slots) is None


def test_a_near_miss_is_no_sentence_of_the_smaller_grammar(tmp_path) -> None:
    """
    Without bc, "ab bc" is a near miss, and "ab ca" is left. Without ca, "ab ca" is still said as the other command. An
    order whose meaning the grammar lacks has no words, so it is none.
    """
    path = tmp_path / "grammar.yaml"
    path.write_text("{commands: {x: 'ab {s}', other: ab ca}, slots: {s: [ca, bc]}}", encoding="utf-8")
    listener = tone_listener()
    recogniser = CommandRecogniser(read_grammar(path), listener.processor, listener.frame_s)
    orders = [
        intent.Order(s, tiny.tones(f"ab {s}", np.random.default_rng(0)).astype(np.float32), "x", {name: s})
        for name, s in [("s", "bc"), ("s", "ca"), ("s", "cb"), ("size", "ca")]
    ]
    (miss,) = intent.Bench(listener, recogniser).near_misses(orders)
    assert miss.text == "ab ca"
