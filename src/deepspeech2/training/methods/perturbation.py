"""Virtual adversarial training: the small change to the features that a model hears most must not be heard.

Miyato et al., 2018 (https://arxiv.org/abs/1704.03976), on spectrograms. It needs no transcripts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

PROBE = 0.03  # root mean square of the change at which the steepest direction is sought; features have variance 1


@contextmanager
def evaluation_norms(model: nn.Module) -> Iterator[None]:
    """
    Dropout and batch norm as in evaluation, and no statistics updated: the model is one function inside. The recurrent
    layers stay in training, without which cuDNN has no gradient.
    """
    kinds = (nn.Dropout, nn.BatchNorm1d, nn.BatchNorm2d)
    changed = [module for module in model.modules() if isinstance(module, kinds) and module.training]
    for module in changed:
        module.eval()
    try:
        yield
    finally:
        for module in changed:
            module.train()


def divergence(reference: torch.Tensor, log_probs: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """
    KL(reference || other) of a frame, the mean over the real frames of each utterance.

    Args:
        reference, log_probs: (B, T, V) log-probabilities.
        lengths: (B,) frames.

    Returns:
        (B,), nats.
    """
    return frame_mean((reference.exp() * (reference - log_probs)).sum(-1), lengths)


def frame_mean(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """(B, T), (B,) frames -> (B,): the mean over the real frames of each utterance."""
    mask = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
    return values.where(mask, 0.0).sum(1) / lengths.clamp(min=1)


def of_size(change: torch.Tensor, mask: torch.Tensor, size: float) -> torch.Tensor:
    """(B, T, F) with 0 behind each clip's end and the root mean square `size` before it; mask (B, T)."""
    change = change * mask[:, :, None]
    square = change.square().sum((1, 2), keepdim=True)
    count = mask.sum(1)[:, None, None] * change.shape[-1]
    return change * size * torch.rsqrt((square / count).clamp(min=torch.finfo(square.dtype).tiny))


def worst_change(
    model: nn.Module,
    features: torch.Tensor,
    mask: torch.Tensor,
    epsilon: float,
    clean: torch.Tensor,
    lengths: torch.Tensor,
) -> torch.Tensor:
    """
    The change of the size `epsilon` that moves the model's posteriors most, to first order: the gradient of the
    divergence at a small random change (one power iteration).

    Args:
        model: a `DeepSpeech2ForCTC`.
        features: (B, T, F).
        mask: (B, T), 1 on real frames.
        epsilon: root mean square of the change over each clip's features.
        clean: (B, T', V), the model's log-probabilities without a change.
        lengths: (B,) their frames.

    Returns:
        (B, T, F).
    """
    change = of_size(torch.randn_like(features), mask, PROBE).requires_grad_()
    moved = divergence(clean, _log_probs(model(features + change, mask)), lengths).sum()
    (gradient,) = torch.autograd.grad(moved, change)
    return of_size(gradient, mask, epsilon).detach()


def smoothness_loss(model: nn.Module, features: torch.Tensor, mask: torch.Tensor, epsilon: float) -> torch.Tensor:
    """
    KL(posteriors || posteriors under the worst change), (B,), with a gradient through the latter only.

    Three more passes forward and two backward, in which dropout and batch norm are those of evaluation.

    Args:
        model, features, mask, epsilon: as for `worst_change`.
    """
    with evaluation_norms(model):
        with torch.no_grad():
            outputs = model(features, mask)
        clean, lengths = _log_probs(outputs), outputs.output_lengths
        change = worst_change(model, features, mask, epsilon, clean, lengths)
        return divergence(clean, _log_probs(model(features + change, mask)), lengths)


def _log_probs(outputs: Any) -> torch.Tensor:
    return outputs.logits.float().log_softmax(-1)
