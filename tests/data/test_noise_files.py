"""A folder of noise: what can be read is used, the rest is named once, and no file ends a run."""

import logging
from pathlib import Path

import numpy as np
import pytest

from deepspeech2.config.arguments import AugmentationArguments
from deepspeech2.data.augmentation import Augmentation
from deepspeech2.data.noise_files import read_noise
from sounds import file_of, tone

RATE = 16_000


def augmentation_of(folder: Path) -> Augmentation:
    args = AugmentationArguments(
        noise_probability=1.0, noise_folder=str(folder), noise_snr_db_min=0, noise_snr_db_max=0
    )
    return Augmentation(args, RATE)


def test_bad_files_are_left_out_by_name_in_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "hiss.wav").write_bytes(file_of(tone(2.0, hz=1000)))
    (tmp_path / "gsm.wav").write_bytes(file_of(tone(2.0, hz=1000), RATE, "WAV", "GSM610"))
    (tmp_path / "joined.mp3").write_bytes(2 * file_of(tone(1.0, hz=1000), RATE, "MP3"))
    bad = {"page.wav": b"<html>", "empty.flac": b"", "._hiss.wav": bytes.fromhex("00051607") + bytes(80)}
    bad["cut.wav"] = file_of(tone(2.0))[:2000]
    bad["none.ogg"] = file_of(np.zeros((0, 1)))
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    augmentation = augmentation_of(tmp_path)
    assert [path.name for path in augmentation.noise_files] == ["gsm.wav", "hiss.wav", "joined.mp3"]
    assert len(caplog.records) == 1 and "5 of 8 noise files are left out" in caplog.text
    assert all(name in caplog.text for name in bad)
    samples = tone(1.0, hz=3000)[:, 0].astype(np.float32)
    for seed in range(10):
        spectrum = np.abs(np.fft.rfft(augmentation.waveform(samples, np.random.default_rng(seed))))
        assert {round(int(place), -1) for place in np.argsort(spectrum)[-2:]} == {1000, 3000}


def test_a_folder_without_a_usable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.wav").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"holds no audio file that can be read:\n.*page.wav.* it is a web page"):
        augmentation_of(tmp_path)


def test_damage_behind_the_start_of_a_file_does_not_end_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """10 s of FLAC with zeros from its middle on: a piece from there is replaced by generated noise, and it is said."""
    content = file_of(np.random.default_rng(0).normal(0, 0.1, 160_000), RATE, "FLAC")
    (tmp_path / "a.flac").write_bytes(content[:150_000] + bytes(20_000) + content[170_000:])
    augmentation = augmentation_of(tmp_path)
    assert not caplog.records
    samples = tone(1.0)[:, 0].astype(np.float32)
    with caplog.at_level(logging.WARNING):
        for seed in range(20):
            assert np.isfinite(augmentation.waveform(samples, np.random.default_rng(seed))).all()
    assert len(caplog.records) == 1 and "a.flac' cannot be decoded" in caplog.text


def test_pieces_of_noise_are_the_samples_of_the_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)
    (tmp_path / "a.wav").write_bytes(file_of(noise, RATE, "WAV", "FLOAT"))
    piece = read_noise(tmp_path / "a.wav", 8000, RATE, np.random.default_rng(3))
    start = int(np.random.default_rng(3).integers(40_000 - 8001 + 1))
    np.testing.assert_array_equal(piece, noise[start : start + 8000])
    np.testing.assert_array_equal(
        read_noise(tmp_path / "a.wav", 100_000, RATE, np.random.default_rng(3)), np.resize(noise, 100_000)
    )
