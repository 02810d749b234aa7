"""Channels: their mean, unless they cancel each other."""

import numpy as np
import pytest

from deepspeech2.data.audio.channels import Mixer
from deepspeech2.data.audio.recordings import channels_cancel, open_audio
from sounds import file_of

RATE = 16_000
RNG = np.random.default_rng(0)
LEFT = RNG.normal(0, 0.1, RATE).astype(np.float32)
OTHER = RNG.normal(0, 0.1, RATE).astype(np.float32)


@pytest.mark.parametrize(
    ("right", "taken"),
    [(-LEFT, LEFT), (-0.9 * LEFT, LEFT), (-LEFT + 0.1 * OTHER, LEFT), (-1.8 * LEFT, -1.8 * LEFT)],
    ids=["exactly", "quieter", "nearly", "louder"],
)
def test_of_channels_that_cancel_one_is_taken(right: np.ndarray, taken: np.ndarray) -> None:
    recording = {"bytes": file_of(np.stack([LEFT, right], 1), RATE, "WAV", "FLOAT"), "path": "a.wav"}
    np.testing.assert_array_equal(open_audio(recording, RATE), taken.astype(np.float32))
    assert channels_cancel(recording)


@pytest.mark.parametrize("right", [LEFT, 0.3 * LEFT, OTHER, 0 * LEFT, LEFT - 0.5 * OTHER, -0.3 * LEFT])
def test_other_channels_keep_their_mean(right: np.ndarray) -> None:
    both = np.stack([LEFT, right], 1).astype(np.float32)
    recording = {"bytes": file_of(both, RATE, "WAV", "FLOAT"), "path": "a.wav"}
    np.testing.assert_array_equal(open_audio(recording, RATE), both.mean(axis=1))
    assert not channels_cancel(recording)


def test_many_channels() -> None:
    surround = np.zeros((RATE, 6), np.float32)
    surround[:, 2] = LEFT  # the voices of a film
    np.testing.assert_array_equal(Mixer().mix(surround), surround.mean(axis=1))
    np.testing.assert_array_equal(Mixer().mix(np.stack([LEFT, -LEFT, OTHER, -OTHER], 1)), LEFT)


def test_a_few_samples_that_cancel_by_chance_are_averaged() -> None:
    mixer = Mixer()
    mixer.mix(np.stack([LEFT, OTHER], 1))
    some = np.array([[0.1, -0.1]], np.float32)
    np.testing.assert_array_equal(mixer.mix(some), some.mean(axis=1))
    assert not mixer.cancel


def test_an_offset_does_not_hide_that_channels_cancel() -> None:
    """A cheap sound card adds the same constant to both."""
    mixer = Mixer()
    np.testing.assert_array_equal(mixer.mix(np.stack([LEFT + 0.2, -LEFT + 0.2], 1)), LEFT + 0.2)
    assert mixer.cancel
