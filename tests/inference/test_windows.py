"""Windows over recordings of any length: all is heard once, cuts lie in pauses, silence is left out."""

import numpy as np
import pytest

from deepspeech2.inference.long_form import Cutter

RATE, STRIDE = 8000, 320


def blocks(samples: np.ndarray, size: int = 8000) -> list[np.ndarray]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def cut(samples: np.ndarray, size: int = 8000):
    cutter = Cutter(RATE, STRIDE)
    return cutter, list(cutter(blocks(samples, size)))


@pytest.mark.parametrize("seconds", [0.05, 3.0, 20.0, 20.7, 21.5, 75.3])
@pytest.mark.parametrize("size", [1000, 160_000])
def test_every_sample_counts_once(seconds: float, size: int) -> None:
    """Whatever the blocks; the samples of a window are those of the recording, with 1.5 s on both sides at most."""
    samples = noise(seconds)
    cutter, windows = cut(samples, size)
    assert cutter.length == len(samples) and cutter.left_out == 0
    assert [window.seam_start for window in windows] == [0, *(window.seam_end for window in windows[:-1])]
    assert windows[-1].seam_end == len(samples)
    for window in windows:
        assert window.seam_start % STRIDE == window.start % STRIDE == 0
        assert window.seam_end - window.seam_start <= 20 * RATE
        end = window.start + len(window.samples)
        assert window.start == max(window.seam_start - 12_000 // STRIDE * STRIDE, 0)
        assert end == min(window.seam_end + 12_000 // STRIDE * STRIDE, len(samples))
        np.testing.assert_array_equal(window.samples, samples[window.start : end])


def test_seams_lie_in_pauses() -> None:
    """A pause of 0.3 s every 4.7 s: the window is cut in the middle of one of those at 14 and 19 s."""
    one = np.concatenate([noise(4.7), noise(0.3, 1e-3)])
    _, windows = cut(np.tile(one, 9))
    places = [window.seam_end % (5 * RATE) / RATE for window in windows[:-1]]
    assert len(places) >= 2
    assert places == pytest.approx([4.85] * len(places), abs=0.06)


def test_long_silence_is_in_no_window() -> None:
    """10 s of speech, 60 s of faint noise, 10 s of speech: 58 s to 60 s are left out, none of the speech."""
    samples = np.concatenate([noise(10), noise(60, 1e-3), noise(10, seed=1)])
    cutter, windows = cut(samples)
    assert 58 * RATE <= cutter.left_out <= 60 * RATE
    heard = np.zeros(len(samples), bool)
    for window in windows:
        heard[window.seam_start : window.seam_end] = True
    assert heard[: 10 * RATE].all() and heard[70 * RATE :].all()
    assert (~heard).sum() == cutter.left_out


@pytest.mark.parametrize("samples", [np.zeros(90 * RATE, np.float32), noise(90, 1e-5)], ids=["zeros", "faint"])
def test_silence_alone_is_no_window(samples: np.ndarray) -> None:
    """-100 dB below full scale are no speech, however even."""
    cutter, windows = cut(samples)
    assert windows == [] and cutter.left_out == cutter.length == 90 * RATE


def test_a_faint_speaker_beside_a_loud_one_is_heard() -> None:
    """20 dB below, in noise 60 dB below."""
    samples = np.concatenate([noise(30), noise(3, 1e-4), noise(30, 0.01), noise(3, 1e-4)])
    cutter, windows = cut(samples)
    assert cutter.left_out < 6 * RATE
    assert any(window.seam_start <= 60 * RATE < window.seam_end for window in windows)


def test_nothing_is_no_window() -> None:
    assert cut(np.zeros(0, np.float32))[1] == []
