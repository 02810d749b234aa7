"""The likeliest path against all paths of toy trellises, of odd lengths and with free ends; hours in little memory."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch

from deepspeech2.decoding.forced_alignment import Infeasible, align


def log_softmax(rng: np.random.Generator, num_frames: int, num_symbols: int, sharpness: float = 2.0) -> np.ndarray:
    logits = torch.from_numpy(sharpness * rng.standard_normal((num_frames, num_symbols)))
    return logits.log_softmax(-1).numpy().astype(np.float32)


def collapsed(path: tuple[int, ...]) -> list[int]:
    return [symbol for symbol, _ in itertools.groupby(path) if symbol]


def best_of_all(log_probs: np.ndarray, labels: list[int]) -> float:
    """The best score among every path of symbols that spells the labels; blank 0."""
    num_frames, num_symbols = log_probs.shape
    paths = itertools.product(range(num_symbols), repeat=num_frames)
    scores = [log_probs[range(num_frames), path].sum() for path in paths if collapsed(path) == labels]
    return float(max(scores))


@pytest.mark.parametrize("labels", [[1], [1, 2], [1, 1], [2, 1, 2], [1, 1, 2], [3, 3, 3]])
@pytest.mark.parametrize("num_frames", [5, 6, 7])
def test_the_path_is_the_best_of_all(labels: list[int], num_frames: int) -> None:
    """Up to 4 ** 7 = 16,384 paths, tried one by one."""
    log_probs = log_softmax(np.random.default_rng(num_frames), num_frames, 4)
    found = align(log_probs, np.array(labels), 0)
    assert found.score == pytest.approx(best_of_all(log_probs, labels), abs=1e-4)
    spelled = np.zeros(num_frames, int)
    for label, start, end in zip(labels, found.starts, found.ends, strict=True):
        spelled[start:end] = label
    assert collapsed(tuple(spelled)) == labels
    assert log_probs[range(num_frames), spelled].sum() == pytest.approx(found.score, abs=1e-4)
    of_labels = sum(np.array(found.log_probs) * (found.ends - found.starts))
    assert of_labels + log_probs[spelled == 0, 0].sum() == pytest.approx(found.score, abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_with_free_ends_it_is_the_best_of_all_stretches(seed: int) -> None:
    """Frames before and behind the best stretch cost what their likeliest symbols do."""
    log_probs, labels = log_softmax(np.random.default_rng(seed), 6, 3), [1, 2]
    best = log_probs.max(axis=1)
    scores = [
        best[:start].sum() + best_of_all(log_probs[start:end], labels) + best[end:].sum()
        for start in range(6)
        for end in range(start + 2, 7)
    ]
    found = align(log_probs, np.array(labels), 0, free_ends=True)
    assert found.score == pytest.approx(float(max(scores)), abs=1e-4)


def test_a_clear_text_is_found_where_it_is() -> None:
    """Frames 0 0 1 1 0 1 2 2 0 spell 1, 1, 2 at 2-4, 5-6, 6-8; each with probability 0.9."""
    frames = [0, 0, 1, 1, 0, 1, 2, 2, 0]
    log_probs = np.full((9, 3), np.log(0.05), np.float32)
    log_probs[range(9), frames] = np.log(0.9)
    found = align(log_probs, np.array([1, 1, 2]), 0)
    assert list(found.starts) == [2, 5, 6] and list(found.ends) == [4, 6, 8]
    assert found.score == pytest.approx(9 * np.log(0.9), abs=1e-5)
    assert found.log_probs == pytest.approx([np.log(0.9)] * 3, abs=1e-5)


def test_words_of_others_at_the_ends_do_not_matter_when_these_are_free() -> None:
    """3 3 | 1 2 | 3: the 1 and 2 are in their frames, and the score is that of the likeliest symbols."""
    frames = [3, 0, 3, 0, 1, 2, 0, 3, 0]
    log_probs = np.full((9, 4), np.log(0.02), np.float32)
    log_probs[range(9), frames] = np.log(0.94)
    found = align(log_probs, np.array([1, 2]), 0, free_ends=True)
    assert list(found.starts) == [4, 5] and found.score == pytest.approx(9 * np.log(0.94), abs=1e-5)
    assert align(log_probs, np.array([1, 2]), 0).score == pytest.approx(6 * np.log(0.94) + 3 * np.log(0.02), abs=1e-5)


@pytest.mark.parametrize("labels, frames", [([1, 2, 3], 2), ([1, 1], 2), ([], 5), ([1], 0)])
def test_what_cannot_be_spelled_is_refused(labels: list[int], frames: int) -> None:
    with pytest.raises(Infeasible, match=f"{len(labels)} labels need at least .* frames, but there are {frames}"):
        align(np.zeros((frames, 4), np.float32), np.array(labels, int), 0)


def test_a_text_that_just_fits_takes_every_frame() -> None:
    """1 1 2 needs four frames: 1, blank, 1, 2."""
    found = align(np.log(np.full((4, 3), 1 / 3, np.float32)), np.array([1, 1, 2]), 0)
    assert list(found.starts) == [0, 2, 3] and list(found.ends) == [1, 3, 4]


def test_a_long_recording_needs_little_memory() -> None:
    """6,000 frames, 5,000 states: 30 MB of choices in full; kept are 78 rows of 20 kB and a stretch, 2 MB."""
    rng = np.random.default_rng(0)
    labels = rng.integers(1, 5, 2500)
    frames = np.zeros(6000, int)
    frames[1:5001:2] = labels
    log_probs = np.full((6000, 5), np.log(0.02), np.float32)
    log_probs[range(6000), frames] = np.log(0.92)
    tracemalloc.start()
    found = align(log_probs, labels, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(found.starts) == list(range(1, 5001, 2))
    assert peak < 6e6
