"""Silence around training clips: as long as was drawn, never louder than the clip's own, and counted."""

import numpy as np
import pytest

import tiny
from deepspeech2.config.arguments import AugmentationArguments
from deepspeech2.config.validation import augmentation_faults
from deepspeech2.data.augmentation import draw_silences_s, surround, trim
from deepspeech2.training.plan import build_train_stream

RATE = 8000


def clip() -> np.ndarray:
    """A second of noise at -20 dB, but for a quarter in its middle at -50 dB."""
    samples = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    samples[3000:5000] *= 10 ** (-30 / 20)
    return samples.astype(np.float32)


def test_a_clip_is_surrounded() -> None:
    levels_db = []
    for seed in range(50):
        around = surround(clip(), (0.5, 0.25), RATE, np.random.default_rng(seed))
        assert around.dtype == np.float32 and len(around) == 4000 + 8000 + 2000
        np.testing.assert_array_equal(around[4000:12000], clip())
        before, after = (20 * np.log10(np.std(part)) for part in (around[:4000], around[12000:]))
        assert before == pytest.approx(after, abs=0.5)
        levels_db.append(before)
    # from -90 dB to -50, a fourth of the moments, of which the tenth per cent is one
    assert -91 < min(levels_db) < -80 and -60 < max(levels_db) < -49


def test_none_is_asked_for_and_none_is_drawn() -> None:
    rng = np.random.default_rng(0)
    assert draw_silences_s(0.0, rng) == (0.0, 0.0)
    samples = clip()
    assert surround(samples, (0.0, 0.0), RATE, rng) is samples
    assert rng.random() == np.random.default_rng(0).random()
    assert all(0 <= one <= 2 for one in draw_silences_s(2.0, rng))


def test_batches_have_the_duration_that_is_heard(tmp_path) -> None:
    manifest = tiny.write_corpus(tmp_path, "tones", 12)
    data = tiny.data_arguments(manifest, batch_seconds=6.0, max_duration_s=3.0)
    training = tiny.training_arguments(tmp_path / "out")
    augmentation = AugmentationArguments(silence_s=1.0, speed_perturbation=0.1)
    stream = build_train_stream(tiny.new_run(data, training, augmentation=augmentation))
    longest = 0.0
    for _, batch in zip(range(12), stream, strict=False):
        frames = batch["attention_mask"].sum(1)
        assert [round(duration_s * 100) for duration_s in batch["durations_s"]] == pytest.approx(frames.tolist(), abs=2)
        assert len(batch["ids"]) * max(batch["durations_s"]) <= 6.0 + 0.01 * len(batch["ids"])
        longest = max(longest, *batch["durations_s"])
    assert longest > 1.1  # 8 letters of 0.12 s are 0.96 s, at most 1.07 s when slow


def test_negative_silence_is_refused() -> None:
    assert augmentation_faults(AugmentationArguments(silence_s=-1.0)) == [
        "silence_s is -1.0; expected 0 or more seconds"
    ]


@pytest.mark.parametrize("noise_db", [-200, -60])
def test_silence_at_the_ends_is_cut_off(noise_db: float) -> None:
    noise = 10 ** (noise_db / 20) * np.random.default_rng(0).standard_normal(2 * RATE + RATE + RATE)
    samples = noise.astype(np.float32)
    samples[2 * RATE : 3 * RATE] += clip()
    trimmed, start_s = trim(samples, RATE)
    assert start_s == pytest.approx(2 - 0.15, abs=0.2)
    assert len(trimmed) / RATE == pytest.approx(1 + 2 * 0.15, abs=0.3)
    np.testing.assert_array_equal(trimmed, samples[round(start_s * RATE) :][: len(trimmed)])
    again, more_s = trim(trimmed, RATE)  # the quiet middle of the clip stays
    assert len(again) > 0.8 * len(trimmed) and more_s < 0.1


def test_where_all_is_silence_nothing_is_cut_off() -> None:
    for samples in (np.zeros(0, np.float32), np.zeros(RATE, np.float32)):
        trimmed, start_s = trim(samples, RATE)
        assert start_s == 0.0 and len(trimmed) == len(samples)


def test_a_click_is_not_what_is_said() -> None:
    """60 ms, 26 dB louder than the command behind it."""
    rng = np.random.default_rng(0)
    silence = (1e-4 * rng.standard_normal(RATE)).astype(np.float32)
    click = (0.5 * rng.standard_normal(RATE * 60 // 1000)).astype(np.float32)
    quiet = 0.25 * clip()
    samples = np.concatenate([silence[: RATE // 4], click, silence[: RATE // 2], quiet, silence])
    trimmed, start_s = trim(samples, RATE)
    assert start_s < 0.25 + 0.06 + 0.5 and start_s + len(trimmed) / RATE > 0.25 + 0.06 + 0.5 + 0.9
