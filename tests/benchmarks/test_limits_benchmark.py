"""benchmarks/limits.py: operations and bytes of the parts of a step."""

import limits
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

COUNTED_BY_TORCH = ("convolution 1", "convolution 2", "input projections 1", "input projections 2", "head")


@pytest.fixture
def parts(monkeypatch):
    monkeypatch.setattr(limits, "CLIP_S", 1)
    monkeypatch.setattr(limits, "BATCH_SIZE", 2)
    return {part.name: part for part in limits.parts("2x8")}


@pytest.mark.parametrize("name", COUNTED_BY_TORCH)
def test_operations_are_those_that_torch_counts(parts, name):
    """Forward and backward; torch does not look into the fused LSTM."""
    part = parts[name]
    with FlopCounterMode(display=False) as counter:
        part.forward(part.input).sum().backward()
    assert part.total_operations() == counter.get_total_flops()


def test_operations_of_a_recurrent_layer(parts):
    """2 clips of 51 frames, two directions of 4 gates of 8: 8 numbers in and 8 of the state; forward and twice back."""
    frames, gates = 2 * 51, 2 * 4 * 8
    assert parts["LSTM 2, projections included"].total_operations() == 3 * 2 * frames * gates * (8 + 8)


def test_bytes_of_a_product():
    """3 x 4 times 4 x 5: 12 in, 20 weights, 15 out; back 12, 20 and 15 in, 20 and 12 out; 4 bytes each."""
    part = limits.Part("product", torch.nn.Linear(4, 5), torch.ones(3, 4, requires_grad=True), weights=20)
    assert part.least_bytes() == 4 * (12 + 20 + 15 + 12 + 20 + 15 + 20 + 12)


def test_a_part_takes_time(parts):
    assert 0 < parts["head"].time_s(1) < 10
