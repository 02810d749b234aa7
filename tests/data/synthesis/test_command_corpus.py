"""Voice commands: many sentences, speakers and sentences kept apart, and made once."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import tiny
from deepspeech2.config.yaml_loader import read_yaml
from deepspeech2.data.synthesis import command_corpus
from deepspeech2.data.synthesis.command_corpus import home_sentences, plan_commands, synthesize_commands


def sentences(count: int) -> list[str]:
    return list(itertools.islice(home_sentences(np.random.default_rng(0)), count))


def test_sentences_are_many_distinct_and_plain() -> None:
    said = sentences(1500)
    assert len(set(said)) == 1500
    assert said[:200] == sentences(200)
    assert set("".join(said)) <= set("abcdefghijklmnopqrstuvwxyz ")
    words = Counter(word for sentence in said for word in sentence.split())
    assert 150 < len(words) < 300 and max(map(len, said)) < 80


def test_every_slot_and_part_of_the_grammar_is_used() -> None:
    content = read_yaml(command_corpus.GRAMMAR_FILE)
    assert set(re.findall(r"\{(\w+)\}", str(content))) == {*content["slots"], *content["parts"]}


def test_a_grammar_that_has_run_out_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text("commands: {turn: 'turn (left|right)'}\n")
    monkeypatch.setattr(command_corpus, "GRAMMAR_FILE", tmp_path / "small.yaml")
    assert sorted(sentences(2)) == ["turn left", "turn right"]
    with pytest.raises(ValueError, match="run out after 2 different sentences"):
        sentences(3)


def test_plan_keeps_speakers_and_sentences_apart() -> None:
    plan = plan_commands({"train": 15, "validation": 2, "test": 5}, {"train": 40, "validation": 6, "test": 10}, seed=0)
    assert plan == plan_commands(
        {"train": 15, "validation": 2, "test": 5}, {"train": 40, "validation": 6, "test": 10}, seed=0
    )
    speakers = {split: {clip.speaker for clip in clips} for split, clips in plan.items()}
    assert {split: len(people) for split, people in speakers.items()} == {
        "train": 40,
        "validation": 6,
        "test": 10,
    }
    everybody = [speaker for people in speakers.values() for speaker in people]
    assert len({speaker.voice for speaker in everybody}) == len({speaker.seed for speaker in everybody}) == 56
    trained = {clip.text for clip in plan["train"]}
    for split in ("validation", "test"):
        unseen = [clip for clip in plan[split] if clip.id.startswith(f"{split}-unseen-")]
        seen = [clip for clip in plan[split] if clip.id.startswith(f"{split}-seen-")]
        assert len(unseen) + len(seen) == len(plan[split]) and abs(len(unseen) - len(seen)) <= 1
        assert {clip.speaker for clip in unseen} == {clip.speaker for clip in seen} == speakers[split]
        assert trained.isdisjoint(clip.text for clip in unseen)
        assert trained.issuperset(clip.text for clip in seen)
    ids = [clip.id for clips in plan.values() for clip in clips]
    assert len(set(ids)) == len(ids)


def test_corpus_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command_corpus, "write_corpus", lambda folder, *_: folder.mkdir())
    folder = synthesize_commands(tmp_path, **tiny.COMMANDS)
    monkeypatch.setattr(command_corpus, "write_corpus", lambda *_: pytest.fail("made again"))
    assert synthesize_commands(tmp_path, **tiny.COMMANDS) == folder


def test_other_arguments_other_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command_corpus, "write_corpus", lambda folder, *_: folder.mkdir())
    folders = {synthesize_commands(tmp_path, **tiny.COMMANDS, seed=seed) for seed in (0, 1)}
    folders |= {synthesize_commands(tmp_path, **{**tiny.COMMANDS, "num_test_speakers": 3})}
    assert len(folders) == 3
