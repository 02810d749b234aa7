"""Synthetic speech: the voice says the words, the corpus keeps its promises, and is made once."""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile

from deepspeech2 import synthesis, voices
from deepspeech2.synthesis import command_sentences, plan_commands, read_grammar, synthesize_commands
from deepspeech2.voices import SAMPLING_RATE, Voice, speak, spread_voices

TINY: dict[str, Any] = {
    "minutes_train": 0.15,
    "minutes_validation": 0.03,
    "minutes_test": 0.06,
    "num_train_speakers": 3,
    "num_validation_speakers": 1,
    "num_test_speakers": 2,
}
SENTENCE = "Turn on the kitchen light."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize_commands(tmp_path_factory.mktemp("synthetic"), **TINY, num_proc=2)


def rows(folder: Path, split: str) -> list[dict[str, Any]]:
    stream = datasets.load_dataset(str(folder), split=split, streaming=True)
    return list(stream.cast_column("audio", datasets.Audio(decode=False)))


def pitches_hz(samples: np.ndarray, size: int = 800) -> np.ndarray:
    """Of frames of 50 ms, by the first strong peak of the autocorrelation; NaN where there is none."""
    lags = np.arange(SAMPLING_RATE // 400, SAMPLING_RATE // 70)
    pitches = []
    for frame in samples[: samples.size // size * size].reshape(-1, size):
        frame = frame + 1e-6 * np.cos(np.arange(size) ** 2)  # not all zero
        correlation = np.array([np.corrcoef(frame[lag:], frame[:-lag])[0, 1] for lag in lags])
        inner = correlation[1:-1]
        peaks = np.flatnonzero((inner > correlation[:-2]) & (inner > correlation[2:]) & (inner > 0.8)) + 1
        pitches.append(SAMPLING_RATE / lags[peaks[0]] if peaks.size else np.nan)
    return np.array(pitches)


def spectral_centre_hz(samples: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float(np.sum(power * np.linspace(0, SAMPLING_RATE / 2, power.size)) / np.sum(power))


def test_the_built_in_voice_is_the_package_s_own() -> None:
    from hibari import dsp

    engine = voices._engine(os.getpid())
    ids = engine.ids(engine.phonemize(SENTENCE)[0])
    outputs = engine.sess.run(None, {"ids": np.asarray([ids], np.int64), "speed": np.asarray([1.0], np.float32)})
    theirs = dsp.synth(*(output[0] for output in outputs), np.random.default_rng(0))  # 24 kHz
    ours = speak(SENTENCE)
    assert ours.dtype == np.float32 and ours.size / SAMPLING_RATE == theirs.size / 24000
    theirs_16k = np.fft.irfft(np.fft.rfft(theirs)[: ours.size // 2 + 1], ours.size) * 2 / 3
    assert np.corrcoef(ours, theirs_16k)[0, 1] > 0.98
    assert ours.std() == pytest.approx(theirs_16k.std(), rel=0.05)


def test_each_property_of_a_voice_is_heard() -> None:
    plain = speak(SENTENCE)
    ratios = pitches_hz(speak(SENTENCE, Voice(pitch=0.7))) / pitches_hz(plain)
    assert np.isfinite(ratios).sum() >= 5 and np.nanmedian(ratios) == pytest.approx(0.7, rel=0.03)
    assert speak(SENTENCE, Voice(rate=0.7)).size > 1.2 * plain.size
    assert spectral_centre_hz(speak(SENTENCE, Voice(formant=0.82))) < 0.95 * spectral_centre_hz(plain)
    assert spectral_centre_hz(speak(SENTENCE, Voice(tilt_db=-6))) < 0.95 * spectral_centre_hz(plain)
    assert not np.allclose(speak(SENTENCE, Voice(breath_db=12)), plain, atol=1e-3)
    assert not np.allclose(speak(SENTENCE, Voice(intonation=0.2)), plain, atol=1e-3)


def test_speech_is_repeatable_and_unsayable_text_is_refused() -> None:
    assert np.array_equal(speak(SENTENCE), speak(SENTENCE))
    two = speak(f"{SENTENCE} {SENTENCE}")
    assert two.size == pytest.approx(2 * speak(SENTENCE).size, rel=0.1)
    with pytest.raises(ValueError, match="nothing can be said of the text"):
        speak("  ")


def test_voices_differ_and_fill_the_range() -> None:
    drawn = spread_voices(56)
    assert len(set(drawn)) == 56 and drawn == spread_voices(56) != spread_voices(56, seed=1)
    pitches = np.sort([voice.pitch for voice in drawn])
    assert 0.5 <= pitches[0] < 0.55 and 1.1 < pitches[-1] <= 1.2
    assert all(0.82 <= voice.formant <= 1.08 for voice in drawn)
    low, high = ([v.formant for v in drawn if (v.pitch < 0.8) == is_low] for is_low in (True, False))
    assert np.mean(low) < np.mean(high) - 0.05


def test_sentences_are_many_distinct_and_plain() -> None:
    sentences = command_sentences(np.random.default_rng(0), 3000)
    assert len(set(sentences)) == 3000
    assert sentences == command_sentences(np.random.default_rng(0), 3000)
    assert set("".join(sentences)) <= set("abcdefghijklmnopqrstuvwxyz ")
    words = Counter(word for sentence in sentences for word in sentence.split())
    assert 150 < len(words) < 300 and max(map(len, sentences)) < 80


def test_every_slot_of_the_grammar_is_defined_and_used() -> None:
    grammar = read_grammar(synthesis.GRAMMAR_FILE)
    text = " ".join(line for lines in grammar.values() for line in lines)
    assert set(re.findall(r"\{(\w+)\}", text)) | {"sentence"} == set(grammar)


def test_a_grammar_that_has_run_out_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "small.txt").write_text("# two sentences\n[sentence]\nturn {way}\n\n[way]\nleft\nright\n")
    monkeypatch.setattr(synthesis, "GRAMMAR_FILE", tmp_path / "small.txt")
    assert sorted(command_sentences(np.random.default_rng(0), 2)) == ["turn left", "turn right"]
    with pytest.raises(ValueError, match="run out after 2 distinct sentences"):
        command_sentences(np.random.default_rng(0), 3)


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
    alone = synthesize_commands(tmp_path, **TINY, num_proc=1)
    assert alone.name == corpus.name
    for split in ("train", "validation", "test"):
        assert rows(alone, split) == rows(corpus, split)


def test_corpus_is_made_once(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "_write_corpus", lambda *_: pytest.fail("made again"))
    assert synthesize_commands(corpus.parent, **TINY) == corpus


def test_other_arguments_other_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(synthesis, "_write_corpus", lambda folder, *_: folder.mkdir())
    folders = {synthesize_commands(tmp_path, **TINY, seed=seed) for seed in (0, 1)}
    folders |= {synthesize_commands(tmp_path, **{**TINY, "num_test_speakers": 3})}
    assert len(folders) == 3


def test_an_interrupted_run_leaves_nothing_that_looks_finished(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = []

    def record_three(clip: synthesis.Clip) -> bytes:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(clip)
        return silence()

    with monkeypatch.context() as patch:
        patch.setattr(synthesis, "record", record_three)
        with pytest.raises(KeyboardInterrupt):
            synthesize_commands(tmp_path, **TINY, num_proc=1)
    assert len(made) == 3 and not (tmp_path / corpus.name).exists()
    again = synthesize_commands(tmp_path, **TINY, num_proc=1)
    assert rows(again, "train") == rows(corpus, "train")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [again.name]


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
        synthesize_commands(tmp_path, **TINY)


@pytest.mark.parametrize("change", [{"minutes_test": 0}, {"num_train_speakers": 0}])
def test_an_empty_split_is_refused(change: dict[str, int], tmp_path: Path) -> None:
    split = "test" if "minutes_test" in change else "train"
    with pytest.raises(ValueError, match=f"split '{split}' needs minutes above 0 and at least one speaker"):
        synthesize_commands(tmp_path, **{**TINY, **change})
