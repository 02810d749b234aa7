"""Domain-adversarial training: hidden states that do not reveal whether speech is from the source or the target.

Ganin et al., 2016 (https://jmlr.org/papers/v17/15-239.html); for speech, Shinohara, 2016
(https://www.isca-archive.org/interspeech_2016/shinohara16_interspeech.html).
"""

import math
from typing import Any

import torch
from torch import nn

HIDDEN_UNITS = 64
STEEPNESS = 10.0  # steepness of the schedule in Ganin et al.


class _Reversal(torch.autograd.Function):
    """The identity, with a gradient that is negated and scaled."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: float) -> torch.Tensor:
        ctx.weight = weight
        return states.view_as(states)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.weight * gradient, None


def reverse_gradient(states: torch.Tensor, weight: float) -> torch.Tensor:
    """Return the same states, with their gradient multiplied by -`weight`."""
    return _Reversal.apply(states, weight)


def reversal_weight(progress: float) -> float:
    """Return 2 / (1 + exp(-10 p)) - 1, which grows from 0 to 1 with the progress p of the training."""
    return 2 / (1 + math.exp(-STEEPNESS * progress)) - 1


class DomainClassifier(nn.Module):
    """
    Classify source or target, from the mean of an encoder layer's states over the real frames.

    Args:
        size: the size of a state.
    """

    def __init__(self, size: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, HIDDEN_UNITS), nn.ReLU(), nn.Linear(HIDDEN_UNITS, 1)
        )

    def forward(self, states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Map states (B, T, size) and lengths (B,) in frames to logits (B,), positive for the target."""
        mask = torch.arange(states.shape[1], device=states.device) < lengths[:, None]
        pooled = (states.float() * mask[:, :, None]).sum(1) / lengths.clamp(min=1)[:, None]
        return self.layers(pooled)[:, 0]


def domain_loss(logits: torch.Tensor, num_source: int) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Compute the loss and accuracy of the domain classifier.

    Args:
        logits: (B,), first those of the source, then those of the target.
        num_source: the number of source utterances.

    Returns:
        The cross-entropy and the accuracy. Source and target have equal weight, whatever their numbers.
    """
    source, target = logits[:num_source], logits[num_source:]
    loss = (nn.functional.softplus(source).mean() + nn.functional.softplus(-target).mean()) / 2
    right = ((source < 0).float().mean() + (target > 0).float().mean()) / 2
    return loss, right
