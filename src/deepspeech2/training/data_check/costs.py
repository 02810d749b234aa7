"""What training costs in time and memory: by one real batch, and by one of the longest clips."""

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
    `audio_s_per_s`: seconds of audio that the model learns from in a second, forward and backward. `peak_bytes`: the
    most that the device held, of a GPU by torch's allocator, else by the whole process; without the optimizer.
    """

    audio_s_per_s: float
    peak_bytes: int


def measure_costs(
    model: nn.Module, device: torch.device, batch: Mapping[str, torch.Tensor], audio_s: float, longest: tuple[int, int]
) -> Costs:
    """
    Times the second of two passes, forward and backward, of a batch; then makes one of a batch of noise as large as
    any. Precision is float32: mixed precision is faster and smaller.

    Args:
        model: takes the gradients; its weights stay.
        device: to compute on.
        batch: of training, with its labels.
        audio_s: seconds of audio in it.
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
    """Seconds of one pass."""
    started = time.perf_counter()
    model(**inputs).loss.backward()
    if inputs["labels"].is_cuda:
        torch.cuda.synchronize()
    model.zero_grad()
    return time.perf_counter() - started
