"""Plain text becomes passages, and passages a corpus of read speech."""

from pathlib import Path

import datasets
import numpy as np
import pytest

from deepspeech2.data.synthesis.command_corpus import plan_commands
from deepspeech2.data.synthesis.reading_corpus import (
    VOICES_SEED,
    plan_reading,
    read_sentences,
    synthesize_reading,
    transcript,
)
from deepspeech2.data.synthesis.voices import spread_voices

BOOK = """\
It was a "dull" morning, and the LORD of the house (an old man) went down
to the river; nobody saw him go.

In 1832 there were 20 of them. Mr. Brown knew, e.g., nothing of it, but he said so every day of the week.
Déjà vu, as they say in the cities of the north, is nothing but a habit of the mind.
%
Don't go. 'Tis late
"""


def sentences_of(tmp_path: Path, *texts: str, seed: int = 0) -> list[str]:
    files = [tmp_path / f"{number}.txt" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, encoding="utf-8")
    return read_sentences(files, np.random.default_rng(seed))


def test_passages_are_what_a_synthesiser_says_as_it_is_written(tmp_path):
    """No digits, abbreviations or foreign letters, no quotation marks, no passage across a paragraph or of 3 words."""
    texts: set[str] = set()
    for seed in range(20):
        passages = sentences_of(tmp_path, BOOK, seed=seed)
        assert all(4 <= len(passage.split()) <= 36 for passage in passages)
        texts |= set(passages)
    everything = " ".join(texts)
    assert "It was a dull morning," in everything and "the Lord of the house an old man went" in everything
    assert "nobody saw him go." in everything and "but he said so every day of the week." in everything
    for missing in ("1832", "20", "Brown", "e.g", "Déjà", "LORD", '"', "("):
        assert missing not in everything
    assert not any("go." in text and "said" in text for text in texts)
    assert any(text.endswith("Don't go. Tis late") for text in texts)


def test_files_take_turns_and_nothing_is_said_twice(tmp_path):
    first = "\n\n".join(f"this is the sentence {word} here" for word in ("one", "two", "three", "four"))
    second = "this is the sentence two here\n\nanother one is only in this file"
    passages = sentences_of(tmp_path, first, second)
    assert len(passages) == len(set(map(transcript, passages))) == 5
    assert "another" in passages[1] and all("sentence" in passages[place] for place in (0, 2, 3, 4))


def test_transcripts_have_letters_and_apostrophes():
    assert transcript("Well - don't you KNOW, then?") == "well don't you know then"


@pytest.mark.parametrize(
    "content, message", [(b"\xff\xfe\xfa", "plain text in UTF-8"), (b"1 2 3\n", "no passage of 4")]
)
def test_text_without_sentences_is_refused(tmp_path, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_sentences([tmp_path / "a.txt"], np.random.default_rng(0))


def test_a_plan_keeps_speakers_and_sentences_apart():
    sentences = [f"The number {number} is said by one of the many speakers." for number in "abcdefghijklmnop"]
    minutes, speakers = {"test": 0.1, "validation": 0.1, "train": 0.3}, {"test": 2, "validation": 1, "train": 3}
    voices = spread_voices(6, VOICES_SEED)
    plan = plan_reading(sentences, voices, minutes, speakers)
    spoken = [clip.spoken for clips in plan.values() for clip in clips]
    assert spoken == sentences[: len(spoken)] and len({clip.id for clips in plan.values() for clip in clips}) == len(
        spoken
    )
    commands = plan_commands({"train": 1, "test": 1}, {"train": 40, "test": 10})
    assert {clip.speaker.voice for clips in commands.values() for clip in clips}.isdisjoint(voices)
    people = [{clip.speaker for clip in clips} for clips in plan.values()]
    assert len(set.union(*people)) == sum(map(len, people))
    with pytest.raises(ValueError, match=r"16 passages are enough for 0\.\d minutes of speech, but 5\.2 are requested"):
        plan_reading(sentences, voices, minutes | {"train": 5}, speakers)


def test_a_corpus_of_read_speech(tmp_path):
    sentences = [f"{start} of the morning, he went down to the river." for start in ("Early", "Late", "At the end")]
    amounts = {f"minutes_{split}": 0.01 for split in ("train", "validation", "test")}
    folder = synthesize_reading(tmp_path / "made", sentences, **amounts, num_train_speakers=1, num_proc=1)
    for split, start in (("test", "early"), ("validation", "late"), ("train", "at the end")):
        stream = datasets.load_dataset(str(folder), split=split, streaming=True)
        (row,) = stream.cast_column("audio", datasets.Audio(decode=False))
        assert row["text"] == f"{start} of the morning he went down to the river"
    assert "Synthetic read speech" in (folder / "README.md").read_text()
    with pytest.raises(ValueError, match="already exists"):
        synthesize_reading(folder, sentences)
