"""benchmarks/streaming.py: what counts as padding, and what as waiting."""

import itertools

import pytest
import streaming
import torch

import tiny


def test_padding_is_a_share_of_all_frames():
    """2 x 10 frames hold 16, 3 x 4 hold 12: 4 of 32 are padding."""
    assert streaming.padding([[10, 6], [4, 4, 4]]) == 4 / 32


def test_random_batches_take_each_clip_once():
    batches = list(streaming.random_batches(list(range(20))))
    assert [len(batch) for batch in batches] == [8, 8, 4]
    assert sorted(itertools.chain(*batches)) == list(range(20)) != list(itertools.chain(*batches))


def test_neighbours_in_length_waste_less_than_random_clips():
    """And all ways cut the same clips."""
    shares = streaming.padding_of_drawn(2)
    assert list(shares) == ["45 s", "320 s", "8 clips", "8 random clips"]
    assert 0 < shares["8 clips"] < shares["8 random clips"] / 4 and shares["320 s"] > shares["45 s"]


def test_processes_with_like_lengths_wait_less():
    """A process alone never waits."""
    assert streaming.balance(1, 60, 64, shared=False) == [1.0, 1.0]
    alone, shared = (streaming.balance(4, 60, 64, shared) for shared in (False, True))
    assert alone[0] < shared[0] - 0.05 and alone[1] < shared[1] < 1


def test_frames_end_with_the_utterances():
    """Clips of 2 and 3 frames, then of 1: the third batch is not asked for."""
    masks = [[[1, 1, 0], [1, 1, 1]], [[1]]]
    stream = [{"attention_mask": torch.tensor(mask), "ids": ["x"] * len(mask)} for mask in masks]
    endless = itertools.chain(stream, iter(lambda: pytest.fail("one batch too many"), None))
    assert list(streaming.frames_of(endless, 3)) == [[2, 3], [1]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streaming")
    for split in ("clean/train.100", "clean/validation", "other/test"):
        tiny.write_parquet(tiny.write_corpus(folder / "clips", "u", 24), folder / "corpus" / split)
    return str(folder / "corpus")


def test_padding_of_a_corpus(corpus, monkeypatch):
    """24 clips, 3 batches of 8 in either way; in one batch of all 24 the longest pads the rest."""
    monkeypatch.setattr(streaming, "WAYS", {"8 clips": {"batch_size": 8}, "all": {"batch_size": 24}})
    shares = streaming.padding_of_corpus(corpus, "clean", "train.100", 1000)
    assert list(shares) == ["8 clips", "all", "8 random clips"]
    assert 0 < shares["8 clips"] < shares["8 random clips"] <= shares["all"] < 0.5


def test_waiting_is_told_from_steps(corpus):
    """After one step that does not count, one of all 24 clips of 0.36 to 0.84 s, up to 15 % faster or slower."""
    waits_s, steps_s, audio_s = streaming.wait_and_step(corpus, 1, num_warm=1)
    assert len(waits_s) == len(steps_s) == 1
    assert 24 * 0.36 / 1.15 < audio_s < 24 * 0.84 / 0.85
