"""Augmentation: each change does what it says, is repeatable, and is absent when it is off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from deepspeech2.config.arguments import AugmentationArguments
from deepspeech2.data.augmentation import (
    NOISE_KINDS,
    Augmentation,
    add_noise,
    change_speed,
    draw_band_hz,
    generate_noise,
    limit_band,
    limit_peak,
    reverberate,
    room_impulse_response,
    warp_frequencies,
)

RATE = 16000
EVERYTHING: dict[str, Any] = {
    "speed_perturbation": 0.1,
    "gain_db": 6.0,
    "noise_probability": 1.0,
    "reverberation_probability": 1.0,
    "spec_augment": True,
}


def tone(frequency_hz: float = 440, duration_s: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
    time_s = np.arange(int(duration_s * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


def peak_frequency_hz(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * RATE / samples.size)


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def test_default_arguments_change_nothing() -> None:
    augmentation, rng = Augmentation(AugmentationArguments(), RATE), np.random.default_rng(0)
    samples, features = tone(), np.ones((50, 80), np.float32)
    assert augmentation.speed_factor(rng) == 1.0
    assert augmentation.waveform(samples, rng, 1.0) is samples
    assert augmentation.features(features, rng) is features


def test_same_generator_same_result_and_input_is_untouched() -> None:
    augmentation = Augmentation(AugmentationArguments(**EVERYTHING), RATE)
    samples, features = tone(), np.ones((200, 80), np.float32)
    results = []
    for seed in (1, 1, 2):
        rng = np.random.default_rng([seed, 0, 7])
        speed = augmentation.speed_factor(rng)
        results.append((speed, augmentation.waveform(samples, rng, speed), augmentation.features(features, rng)))
    first, again, other = results
    assert first[0] == again[0] and first[0] != other[0]
    assert np.array_equal(first[1], again[1]) and np.array_equal(first[2], again[2])
    assert first[1].shape != other[1].shape or not np.array_equal(first[1], other[1])
    assert first[1].dtype == np.float32 and first[2].dtype == np.float32
    assert np.array_equal(samples, tone()) and features.min() == 1


def test_speed_factors_fill_their_range() -> None:
    augmentation = Augmentation(AugmentationArguments(speed_perturbation=0.1), RATE)
    factors = [augmentation.speed_factor(np.random.default_rng([0, i])) for i in range(300)]
    assert 0.9 <= min(factors) < 0.91 and 1.09 < max(factors) <= 1.1


def test_speed_shortens_the_clip_and_raises_the_pitch() -> None:
    faster = change_speed(tone(440), 1.25, RATE)
    assert faster.size == RATE / 1.25 == 12800
    assert peak_frequency_hz(faster) == pytest.approx(440 * 1.25, abs=2)


def test_gain_stays_in_its_range() -> None:
    augmentation = Augmentation(AugmentationArguments(gain_db=6.0), RATE)
    quiet = tone(amplitude=0.1)
    gains = [
        20 * np.log10(rms(augmentation.waveform(quiet, np.random.default_rng(i))) / rms(quiet)) for i in range(200)
    ]
    assert -6.01 < min(gains) < -5 and 5 < max(gains) < 6.01


def test_nothing_is_clipped() -> None:
    loud = tone(amplitude=1.0)
    args = AugmentationArguments(**{**EVERYTHING, "gain_db": 20.0, "noise_snr_db_min": 0, "noise_snr_db_max": 0})
    augmentation = Augmentation(args, RATE)
    assert all(np.abs(augmentation.waveform(loud, np.random.default_rng(i), 1.1)).max() <= 1 for i in range(20))
    scaled = limit_peak(3 * loud)
    assert np.allclose(scaled, loud * 0.999, atol=1e-3)  # scaled as a whole, not cut off


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
def test_noise_has_the_ratio_asked_for(snr_db: float) -> None:
    samples = tone()
    noise = generate_noise(np.random.default_rng(0), samples.size, RATE)
    added = add_noise(samples, noise, snr_db) - samples
    assert 20 * np.log10(rms(samples) / rms(added)) == pytest.approx(snr_db, abs=0.01)


@pytest.mark.parametrize("kind", NOISE_KINDS)
@pytest.mark.parametrize("num_samples", [1, 7, 4 * RATE, 5 * RATE + 1])
def test_generated_noise(kind: str, num_samples: int) -> None:
    noise = generate_noise(np.random.default_rng(3), num_samples, RATE, kind)
    assert noise.shape == (num_samples,) and noise.dtype == np.float32 and np.isfinite(noise).all()
    if num_samples > RATE:
        assert rms(noise) == pytest.approx(1.0, abs=0.1)


def test_noises_have_their_colours() -> None:
    def slope_db_per_octave(kind: str) -> float:
        power = np.abs(np.fft.rfft(generate_noise(np.random.default_rng(0), 4 * RATE, RATE, kind))) ** 2
        # 4 s: a bin is 0.25 Hz
        octaves = [10 * np.log10(power[4 * f : 8 * f].mean()) for f in (250, 500, 1000, 2000)]
        return float(np.polyfit(range(4), octaves, 1)[0])

    assert slope_db_per_octave("white") == pytest.approx(0, abs=0.5)
    assert slope_db_per_octave("pink") == pytest.approx(-3, abs=0.5)
    assert slope_db_per_octave("brown") == pytest.approx(-6, abs=0.5)


def test_unknown_noise_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'purple'.*white"):
        generate_noise(np.random.default_rng(0), 100, RATE, "purple")


def test_noise_folder_is_read_at_another_rate_and_length(tmp_path: Path) -> None:
    stereo = np.repeat(tone(1000, 0.3)[:, None], 2, axis=1)
    (tmp_path / "inner").mkdir()
    soundfile.write(tmp_path / "inner" / "n.wav", stereo, 8000)  # 500 Hz once read at its own rate
    args = AugmentationArguments(
        noise_probability=1.0, noise_folder=str(tmp_path), noise_snr_db_min=0, noise_snr_db_max=0
    )
    samples = tone(3000)
    added = Augmentation(args, RATE).waveform(samples, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(added))
    assert {int(f) for f in np.argsort(spectrum)[-2:]} == {500, 3000}


def test_noise_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no audio file"):
        Augmentation(AugmentationArguments(noise_folder=str(tmp_path)), RATE)
    with pytest.raises(ValueError, match="is not a folder"):
        Augmentation(AugmentationArguments(noise_folder=str(tmp_path / "missing")), RATE)


def test_arguments_out_of_range_are_all_named() -> None:
    args = AugmentationArguments(speed_perturbation=0.9, noise_probability=2, noise_snr_db_min=30, noise_snr_db_max=5)
    with pytest.raises(ValueError, match=r"speed_perturbation.*noise_probability.*noise_snr_db_min"):
        Augmentation(args, RATE)


def test_room_decays_as_its_name_says() -> None:
    response = room_impulse_response(np.random.default_rng(0), RATE, rt60_s=0.5, direct_to_reverberant_db=3.0)
    assert response.dtype == np.float32 and response.size == 0.5 * RATE == 8000
    assert response[0] == 1 and np.abs(response[1:]).max() < 1
    assert 10 * np.log10(1 / np.sum(response[1:] ** 2)) == pytest.approx(3.0, abs=0.01)
    early, late = rms(response[1600:2400]), rms(response[4800:5600])  # 0.2 s apart: 60 dB * 0.2 / 0.5 = 24 dB
    assert 20 * np.log10(early / late) == pytest.approx(24, abs=3)


def test_reverberation_keeps_time_length_and_level() -> None:
    click = np.zeros(RATE, np.float32)
    click[1000] = 0.5
    wet = reverberate(click, room_impulse_response(np.random.default_rng(1), RATE))
    assert wet.size == click.size and np.argmax(np.abs(wet)) == 1000
    assert rms(wet) == pytest.approx(rms(click), rel=1e-3)
    assert np.abs(wet[:1000]).max() < 1e-5


@pytest.mark.parametrize("num_samples", [0, 1, 2, 100])
def test_short_and_silent_clips_survive(num_samples: int) -> None:
    augmentation = Augmentation(AugmentationArguments(**EVERYTHING), RATE)
    for samples in (np.zeros(num_samples, np.float32), tone()[:num_samples]):
        for seed in range(20):
            result = augmentation.waveform(samples, np.random.default_rng(seed), 1.05)
            assert np.isfinite(result).all() and result.dtype == np.float32
    assert np.array_equal(augmentation.waveform(np.zeros(100, np.float32), np.random.default_rng(0)), np.zeros(100))


def test_masks_keep_their_limits() -> None:
    args = AugmentationArguments(
        spec_augment=True,
        num_time_masks=1,
        time_mask_max_ratio=0.1,
        num_frequency_masks=1,
        frequency_mask_max_bins=27,
    )
    augmentation, features = Augmentation(args, RATE), np.ones((100, 80), np.float32)
    frames, bins = [], []
    for seed in range(300):
        masked = augmentation.features(features, np.random.default_rng(seed))
        frames.append(int((masked.max(axis=1) == 0).sum()))
        bins.append(int((masked.max(axis=0) == 0).sum()))
    assert set(frames) == set(range(11))  # 10 % of 100 frames, fewer than the 40 allowed
    assert set(bins) == set(range(28))


@pytest.mark.parametrize("shape", [(0, 80), (1, 80), (5, 13)])
def test_masks_on_tiny_features(shape: tuple[int, int]) -> None:
    augmentation = Augmentation(AugmentationArguments(spec_augment=True), RATE)
    assert augmentation.features(np.ones(shape, np.float32), np.random.default_rng(0)).shape == shape


def test_a_shorter_vocal_tract_moves_resonances_up() -> None:
    """A peak at 2000 Hz goes to 2000 * 1.1; the highest frequency stays; a factor of 1 changes nothing."""
    bins_hz = np.linspace(0, 8000, 161)
    features = np.exp(-(((bins_hz - 2000) / 300) ** 2)).astype(np.float32)[None].repeat(3, axis=0)
    for factor in (0.9, 1.1):
        warped = warp_frequencies(features, factor, bins_hz)
        assert warped.shape == (3, 161) and warped.dtype == np.float32
        assert bins_hz[warped[0].argmax()] == pytest.approx(2000 * factor, abs=50)
    assert np.allclose(warp_frequencies(features, 1.0, bins_hz), features, atol=1e-6)
    edge = np.where(bins_hz == 8000, 1, 0).astype(np.float32)[None]
    assert warp_frequencies(edge, 1.2, bins_hz)[0, -1] == warp_frequencies(edge, 0.8, bins_hz)[0, -1] == 1


def test_the_vocal_tract_is_drawn_before_the_masks() -> None:
    bins_hz = np.linspace(0, 8000, 80)
    args = AugmentationArguments(vocal_tract_perturbation=0.2)
    features = np.random.default_rng(1).standard_normal((50, 80)).astype(np.float32)
    augmentation = Augmentation(args, RATE, bins_hz)
    drawn = [augmentation.features(features, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.allclose(drawn[0], drawn[2])
    with pytest.raises(ValueError, match="needs the frequencies"):
        Augmentation(args, RATE)
    with pytest.raises(ValueError, match=r"vocal_tract_perturbation is 0\.7; expected a share between 0 and 0.5"):
        Augmentation(AugmentationArguments(vocal_tract_perturbation=0.7), RATE, bins_hz)


@pytest.mark.parametrize(
    ("frequency_hz", "lost_db"), [(100, 24.1), (200, 12.3), (1000, 0.0), (4000, 3.0), (7000, 10.2)]
)
def test_a_microphone_weakens_what_is_outside_its_band(frequency_hz: float, lost_db: float) -> None:
    """Second order at 400 and 4000 Hz: 10 log10(1 + (400 / 100) ** 4) = 24.1 dB at 100 Hz, 3 dB at 4000 Hz."""
    sound = tone(frequency_hz, duration_s=4.0)
    limited = limit_band(sound, (400.0, 4000.0), RATE)
    assert limited.dtype == np.float32 and limited.shape == sound.shape
    middle = slice(RATE, 3 * RATE)
    assert 20 * np.log10(rms(sound[middle]) / rms(limited[middle])) == pytest.approx(lost_db, abs=0.2)


def test_microphones_differ() -> None:
    bands = [draw_band_hz(np.random.default_rng(seed)) for seed in range(50)]
    assert all(40 <= low_hz <= 400 and 3000 <= high_hz <= 7800 for low_hz, high_hz in bands)
    assert len({low_hz for low_hz, _ in bands}) == len({high_hz for _, high_hz in bands}) == 50
    augmentation = Augmentation(AugmentationArguments(band_limit_probability=1.0), RATE)
    assert rms(augmentation.waveform(tone(20), np.random.default_rng(0))) < 0.5 * rms(tone(20))
