"""Measure the time and memory of training, with one real batch and one batch of the longest clips."""

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

GIB = 2**30
NEEDED = ("input_features", "attention_mask", "labels")


@dataclass(frozen=True)
class Costs:
    """
    The measured costs, without the optimizer.

    Args:
        audio_s_per_s: seconds of audio per second of computing, forward and backward pass.
        peak_bytes: peak memory. On a GPU it is the peak of torch's allocator, else that of the whole process.
    """

    audio_s_per_s: float
    peak_bytes: int


def measure_costs(
    model: nn.Module, device: torch.device, batch: Mapping[str, torch.Tensor], audio_s: float, longest: tuple[int, int]
) -> Costs:
    """
    Time the second of two forward and backward passes of a batch, then run one batch of noise in the largest size.

    Precision is float32. Mixed precision is faster and needs less memory.

    Args:
        model: its gradients are overwritten, its weights stay.
        device: the device to compute on.
        batch: a batch of training, with labels.
        audio_s: seconds of audio in the batch.
        longest: clips and input frames of the largest batch.
    """
    model = model.to(device).train()
    taken_s = [_step(model, {name: batch[name].to(device) for name in NEEDED}) for _ in range(2)][-1]
    clips, frames = longest
    noise = {
        "input_features": torch.rand(clips, frames, batch["input_features"].shape[-1], device=device),
        "attention_mask": torch.ones(clips, frames, dtype=torch.long, device=device),
        "labels": torch.ones(clips, 1, dtype=torch.long, device=device),
    }
    _step(model, noise)
    if device.type == "cuda":
        peak_bytes = torch.cuda.max_memory_allocated(device)
    else:  # KiB on Linux, bytes on macOS
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Costs(audio_s / taken_s, peak_bytes)


def _step(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> float:
    """Return the seconds of one forward and backward pass."""
    started = time.perf_counter()
    model(**inputs).loss.backward()
    if inputs["labels"].is_cuda:
        torch.cuda.synchronize()
    model.zero_grad()
    return time.perf_counter() - started
