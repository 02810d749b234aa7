"""The sentences of a grammar become clips of many speakers, with pauses, hesitations and other speech."""

import itertools
from pathlib import Path

import datasets
import numpy as np
import pytest

from deepspeech2.data.grammars.reading import read_grammar
from deepspeech2.data.synthesis.grammar_corpus import FILLERS, perform, plan_grammar, speak_grammar
from deepspeech2.data.synthesis.voices import spread_voices

LIGHTS = "{commands: {light: '[please] turn the light {switch}'}, slots: {switch: ['on', 'off']}}"
SENTENCES = {f"{please}turn the light {switch}" for please in ("please ", "") for switch in ("on", "off")}


def grammar_of(folder: Path, text: str):
    path = folder / "grammar.yaml"
    path.write_text(text, encoding="utf-8")
    return read_grammar(path)


def plan_of(grammar, seed: int = 0):
    minutes, speakers = {"test": 2.0, "validation": 1.0, "train": 4.0}, {"test": 4, "validation": 2, "train": 8}
    return plan_grammar(grammar, spread_voices(14), minutes, speakers, seed)


def test_a_small_grammar_is_spoken_many_times(tmp_path):
    plan = plan_of(grammar_of(tmp_path, LIGHTS))
    of_split = {split: [clip.text for clip in clips] for split, clips in plan.items()}
    assert set(of_split["validation"]) == SENTENCES
    inside = {split: np.mean([text in SENTENCES for text in texts]) for split, texts in of_split.items()}
    assert inside["train"] == pytest.approx(0.75, abs=0.15) and inside["test"] == pytest.approx(0.4, abs=0.2)
    speakers = {split: {clip.speaker.id for clip in clips} for split, clips in plan.items()}
    assert all(not one & other for one, other in itertools.combinations(speakers.values(), 2))
    assert len(speakers["train"]) == 8
    words = {word for text in SENTENCES for word in text.split()}
    others = [text.split() for text in of_split["train"] if text not in SENTENCES]
    mixed = [other for other in others if set(other) <= words]
    assert 0.1 < len(mixed) / len(others) < 0.6


def test_the_sentences_of_a_large_grammar_differ_between_the_splits():
    plan = plan_of(read_grammar(Path(__file__).parents[3] / "recipes" / "commands" / "coffee.yaml"))
    test, train = ({clip.text for clip in plan[split] if "coffee" in clip.text} for split in ("test", "train"))
    assert test and train and len(test & train) < 0.2 * len(test)


def test_pauses_and_hesitations_are_spoken_and_not_in_the_text():
    text = "please turn on the light in the hall"
    said = [perform(text, np.random.default_rng(seed)) for seed in range(300)]
    assert 0.05 < np.mean([any(filler in one.split() for filler in FILLERS) for one in said]) < 0.3
    assert 0.2 < np.mean(["," in one or "..." in one for one in said]) < 0.8
    for one in said:
        words = [word.strip(".,") for word in one.split() if word not in FILLERS]
        assert " ".join(words) == text and one.endswith(".")
    assert perform("is the light on", np.random.default_rng(0)).endswith("?")


def test_a_corpus_of_a_grammar_is_made_once(tmp_path):
    small = {"minutes_train": 0.1, "minutes_validation": 0.02, "minutes_test": 0.02, "num_train_speakers": 2}
    small |= {"num_validation_speakers": 1, "num_test_speakers": 1, "num_proc": 1}
    folder = speak_grammar(tmp_path, grammar_of(tmp_path, LIGHTS), **small)
    assert speak_grammar(tmp_path, grammar_of(tmp_path, LIGHTS), **small) == folder
    stream = datasets.load_dataset(str(folder), split="validation", streaming=True).select_columns(["text"])
    assert {row["text"] for row in stream} <= SENTENCES
    other = grammar_of(tmp_path, LIGHTS.replace("off", "out"))
    assert speak_grammar(tmp_path, other, **small) != folder
