"""A corpus of synthetic speech keeps its promises, and is whole or not there."""

from __future__ import annotations

import io
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile

import tiny
from deepspeech2.data.synthesis import corpus_writer, voices
from deepspeech2.data.synthesis.command_corpus import synthesize_commands
from deepspeech2.data.synthesis.voices import SAMPLING_RATE


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize_commands(tmp_path_factory.mktemp("synthetic"), **tiny.COMMANDS, num_proc=2)


def rows(folder: Path, split: str) -> list[dict[str, Any]]:
    stream = datasets.load_dataset(str(folder), split=split, streaming=True)
    return list(stream.cast_column("audio", datasets.Audio(decode=False)))


def test_corpus_loads_from_its_folder(corpus: Path) -> None:
    train, test = rows(corpus, "train"), rows(corpus, "test")
    assert set(train[0]) == {"audio", "text", "id", "speaker_id"}
    assert {row["speaker_id"] for row in train}.isdisjoint(row["speaker_id"] for row in test)
    assert len(list((corpus / "train").glob("*.parquet"))) == 4
    total_s = 0.0
    for row in train:
        samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")
        assert rate == SAMPLING_RATE and samples.ndim == 1 and row["audio"]["path"] == f"{row['id']}.flac"
        assert 1 <= samples.size / rate < 6 and np.abs(samples).max() <= 1
        assert -33 < 20 * np.log10(samples.std()) < -17
        total_s += samples.size / rate
    assert total_s == pytest.approx(0.15 * 60, rel=0.4)  # to the next clip
    card = (corpus / "README.md").read_text()
    assert f"| train | {len(train)} |" in card and "license: apache-2.0" in card


def test_the_number_of_processes_changes_nothing(corpus: Path, tmp_path: Path) -> None:
    alone = synthesize_commands(tmp_path, **tiny.COMMANDS, num_proc=1)
    assert alone.name == corpus.name
    for split in ("train", "validation", "test"):
        assert rows(alone, split) == rows(corpus, split)


def test_an_interrupted_run_leaves_nothing_that_looks_finished_and_goes_on_where_it_was(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[str] = []
    record = corpus_writer.record

    def record_three(clip: corpus_writer.Clip) -> bytes:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(clip.id)
        return record(clip)

    with monkeypatch.context() as patch:
        patch.setattr(corpus_writer, "record", record_three)
        with pytest.raises(KeyboardInterrupt):
            synthesize_commands(tmp_path, **tiny.COMMANDS, num_proc=1)
        assert len(made) == 3 and not (tmp_path / corpus.name).exists()
        patch.setattr(corpus_writer, "record", lambda clip: made.append(clip.id) or record(clip))
        again = synthesize_commands(tmp_path, **tiny.COMMANDS, num_proc=1)
    splits = ("train", "validation", "test")
    for split in splits:
        assert rows(again, split) == rows(corpus, split)
    total = sum(len(rows(corpus, split)) for split in splits)
    assert total <= len(made) < total + 3 and len(set(made)) == total  # one clip of the first run was in no whole file
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [again.name]
    assert sorted(path.name for path in again.iterdir()) == ["README.md", *sorted(splits)]


def test_what_is_left_of_another_plan_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_writer, "record", lambda clip: silence())
    speaker = corpus_writer.Speaker("a", voices.Voice(), (0,))
    description = corpus_writer.Description("t", "w", "v", "d")
    first, second = ({"test": [corpus_writer.Clip("1", text, text, speaker, (0,))]} for text in ("one", "two"))
    corpus_writer.write_corpus(tmp_path / "done", first, description, {}, 1)
    partial = tmp_path / "new.partial"
    (tmp_path / "done").rename(partial)
    (partial / corpus_writer.PLAN_NAME).write_text("another", encoding="utf-8")
    corpus_writer.write_corpus(tmp_path / "new", second, description, {}, 1)
    assert [row["text"] for row in rows(tmp_path / "new", "test")] == ["two"]


def silence() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(1600), SAMPLING_RATE, format="FLAC")
    return file.getvalue()


def test_without_the_package_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(voices, "version", missing)
    with pytest.raises(ImportError, match=r'pip install "hibari-tts==0\.2\.1"'):
        synthesize_commands(tmp_path, **tiny.COMMANDS)


@pytest.mark.parametrize("change", [{"minutes_test": 0}, {"num_train_speakers": 0}])
def test_an_empty_split_is_refused(change: dict[str, int], tmp_path: Path) -> None:
    split = "test" if "minutes_test" in change else "train"
    with pytest.raises(ValueError, match=f"split '{split}' needs minutes above 0 and at least one speaker"):
        synthesize_commands(tmp_path, **{**tiny.COMMANDS, **change})
