"""Sentences are drawn evenly over commands, values and lengths, in the shares of their weights, each once."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np

from deepspeech2.data.grammars.reading import read_grammar
from deepspeech2.data.grammars.sampling import Sentence, sample_sentences

COFFEE = Path(__file__).resolve().parents[3] / "recipes" / "commands" / "coffee.yaml"


def drawn(folder: Path, text: str, count: int, seed: int = 0) -> list[Sentence]:
    path = folder / "grammar.yaml"
    path.write_text(text, encoding="utf-8")
    return list(islice(sample_sentences(read_grammar(path), np.random.default_rng(seed)), count))


def test_commands_and_values_come_equally_often(tmp_path):
    text = """
        commands: {go: "go to {room} at {n} [sharp]", stop: "[please] stop {room} in {n}"}
        slots: {room: [kitchen, living room, hall], n: {numbers: [1, 20]}}
    """
    sentences = drawn(tmp_path, text, 60)
    assert sentences == drawn(tmp_path, text, 60) != drawn(tmp_path, text, 60, seed=1)
    assert len({sentence.text for sentence in sentences}) == 60
    # A room is drawn 60 / 3 = 20 times and a number 60 / 20 = 3 times, give or take what equal ones may differ.
    assert all(abs(count - 20) <= 3 for count in Counter(one.slots["room"] for one in sentences).values())
    numbers = Counter(one.slots["n"] for one in sentences)
    assert len(numbers) == 20 and max(numbers.values()) <= 6
    commands = Counter(sentence.command for sentence in sentences)
    assert abs(commands["go"] - 30) <= 3


def test_weights_are_kept(tmp_path):
    sentences = drawn(tmp_path, "{commands: {a: '(/3/ b|c) {n}'}, slots: {n: {numbers: [1, 99]}}}", 80)
    assert abs(Counter(one.text.split()[0] for one in sentences)["b"] - 60) <= 3  # 3 / 4 of 80
    text = "{commands: {a: '{s} {n}'}, slots: {n: {numbers: [1, 99]}, s: ['/3/ (b|c)', d]}}"
    assert abs(Counter(one.slots["s"] for one in drawn(tmp_path, text, 80))["d"] - 20) <= 3  # 1 / 4 of 80


def test_lengths_and_orders_come_equally_often(tmp_path):
    """Each optional part is said in half of the sentences. By chance 1, 3, 3 and 1 of 8 would have 0, 1, 2 and 3."""
    text = "{commands: {a: '([{x}] & [{y}] & [{z}]) {n}'}, slots: {n: {numbers: [1, 20]}, x: [b], y: [c], z: [d]}}"
    sentences = drawn(tmp_path, text, 120)
    lengths = Counter(len(sentence.slots) - 1 for sentence in sentences)
    assert all(17 <= lengths[length] <= 43 for length in range(4))
    assert abs(sum("x" in one.slots for one in sentences) - 60) <= 4
    orders = Counter(tuple(one.slots)[:3] for one in sentences if len(one.slots) == 4)
    assert len(orders) == 6


def test_it_ends_with_all_sentences(tmp_path):
    text = "{commands: {a: '[b] & [c] & d', e: 'f|g'}}"
    sentences = drawn(tmp_path, text, 99)
    assert len(sentences) == 1 + 2 * 2 + 6 + 2 == len({sentence.text for sentence in sentences})


def test_a_sentence_says_what_its_slots_mean():
    for sentence in islice(sample_sentences(read_grammar(COFFEE), np.random.default_rng(0)), 50):
        assert all(str(value) in sentence.text for value in sentence.slots.values())
        assert sentence.command == "orderDrink" and sentence.slots["coffeeDrink"]
