"""Scoring is bounded in memory: batches and logits are let go, and what stays of an utterance is its text."""

import gc
import tracemalloc
import weakref
from collections.abc import Iterator

import pytest
import torch

import tiny
from deepspeech2.evaluation.scoring import score_model

CLIPS, FRAMES = 1, 10
INPUTS = 3  # tensors of a batch
KEPT_BYTES = 4096


class Alive:
    """Counts the tensors that are alive of those it was shown."""

    def __init__(self) -> None:
        self.seen = 0
        self.ids: set[int] = set()

    def watch(self, tensor: torch.Tensor) -> None:
        self.ids.add(self.seen)
        weakref.finalize(tensor, self.ids.discard, self.seen)
        self.seen += 1


def long_split(num_batches: int, alive: Alive, counts: list[int]) -> Iterator[dict]:
    """Batches made one by one; notes how many tensors are alive whenever one more is asked for."""
    for index in range(num_batches):
        counts.append(len(alive.ids))
        clips = range(index * CLIPS, (index + 1) * CLIPS)
        batch = {
            "input_features": torch.rand(CLIPS, FRAMES, tiny.FEATURES["feature_size"]),
            "attention_mask": torch.ones(CLIPS, FRAMES, dtype=torch.long),
            "labels": torch.full((CLIPS, INPUTS), 2),
        }
        for tensor in batch.values():
            alive.watch(tensor)
        yield batch | {
            "ids": [f"utterance-{clip}" for clip in clips],
            "speaker_ids": [f"speaker-{clip % 7}" for clip in clips],
            "texts": [" ".join(["abc"] * 10) for _ in clips],
            "durations_s": [0.2] * CLIPS,
            "columns": [{"accent": f"accent-{clip % 5}"} for clip in clips],
        }


@pytest.fixture(scope="module")
def made():
    return tiny.new_model()


def test_no_batch_outlives_its_turn(made):
    """Whenever a batch is asked for, at most the one before is still held: its inputs and its logits."""
    model, processor = made
    alive, counts = Alive(), []
    handle = model.register_forward_hook(lambda module, inputs, outputs: alive.watch(outputs.logits))
    scores, _ = score_model(model, processor, long_split(100, alive, counts))
    handle.remove()
    assert scores.num_utterances == 100 * CLIPS and alive.seen == 100 * (INPUTS + 1)
    assert len(counts) == 100 and max(counts) <= INPUTS + 1
    assert not alive.ids


def test_what_stays_of_an_utterance_is_small(made):
    """Three times the batches, and at most 4 kB for each of the 100 utterances more, ten words each."""
    model, processor = made
    score_model(model, processor, long_split(2, Alive(), []))
    few, many = peak_bytes(model, processor, 50), peak_bytes(model, processor, 150)
    assert 0 < many - few < (150 - 50) * CLIPS * KEPT_BYTES


def peak_bytes(model, processor, num_batches: int) -> int:
    """The most that Python holds while it scores so many batches, the scores included."""
    gc.collect()
    tracemalloc.start()
    scores, _ = score_model(model, processor, long_split(num_batches, Alive(), []))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scores.num_utterances == num_batches * CLIPS
    return peak
