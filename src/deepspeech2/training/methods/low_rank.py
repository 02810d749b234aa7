"""Low-rank updates of matrices (Hu et al., "LoRA", 2021). The model stays a plain model at every step."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback

WEIGHTS_NAME = "low_rank.safetensors"


class LowRankUpdates(TrainerCallback):
    """
    Train `W = W0 + scale / rank * up @ down`, where only `up` (rows, rank) and `down` (rank, columns) are trained.

    The model holds W itself. It is saved, averaged, scored and exported like any other, without merging. The backward
    pass computes the gradient of W, and the chain rule gives the gradients of the factors. After an optimizer step on
    the factors, W is computed again. PEFT (0.21) cannot do this: it refuses an nn.LSTM, and its wrapper of one weight
    hides the layer's other weights.

    Args:
        model: the model with its starting weights, which are kept as W0.
        names: names of its matrices.
        rank: the rank of each update.
        scale: the scale of the updates, LoRA's alpha.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], rank: int, scale: float):
        parameters = dict(model.named_parameters())
        self.weights = {name: parameters[name] for name in names}
        self.factor = scale / rank
        self._start = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.up = {name: nn.Parameter(weight.new_zeros(len(weight), rank)) for name, weight in self.weights.items()}
        self.down = {}
        for name, weight in self.weights.items():
            weight.requires_grad_(True)
            down = weight.new_empty(rank, weight.shape[1])
            self.down[name] = nn.Parameter(nn.init.kaiming_uniform_(down, a=5**0.5))

    def begin(self, device: torch.device) -> None:
        """Move the state to the device of the model."""
        self._start = {name: one.to(device) for name, one in self._start.items()}
        for name in self.weights:
            for one in self.factors(name):
                one.data = one.data.to(device)

    def factors(self, name: str) -> tuple[nn.Parameter, nn.Parameter]:
        return self.up[name], self.down[name]

    def num_parameters(self) -> int:
        return sum(one.numel() for name in self.weights for one in self.factors(name))

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        for name, weight in self.weights.items():
            up, down = self.factors(name)
            if weight.grad is None:  # a skipped step, or a group that is still frozen
                up.grad = down.grad = None
                continue
            up.grad = self.factor * weight.grad @ down.detach().T
            down.grad = self.factor * up.detach().T @ weight.grad
            weight.grad = None

    @torch.no_grad()
    def on_optimizer_step(self, args, state, control, **kwargs):
        for name, weight in self.weights.items():
            up, down = self.factors(name)
            weight.copy_(self._start[name]).addmm_(up, down, alpha=self.factor)

    @torch.no_grad()
    def is_all_that_changed(self) -> bool:
        """Return whether the model equals its start plus these updates. An average or an interpolation does not."""
        factors = {name: self.factors(name) for name in self.weights}
        wanted = {name: torch.addmm(self._start[name], *both, alpha=self.factor) for name, both in factors.items()}
        return all(torch.allclose(self.weights[name], one, atol=1e-6) for name, one in wanted.items())

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the factors as `NAME.low_rank_up` and `NAME.low_rank_down`, on the CPU."""
        return {
            f"{name}.low_rank_{kind}": one.detach().cpu().contiguous()
            for name in self.weights
            for kind, one in zip(("up", "down"), self.factors(name), strict=True)
        }

    def save(self, folder: Path) -> None:
        """Save the factors in a checkpoint."""
        save_file(self.tensors(), folder / WEIGHTS_NAME)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Load the factors of a checkpoint. The weights of the model are loaded separately."""
        tensors = load_file(folder / WEIGHTS_NAME)
        for name in self.weights:
            self.up[name].copy_(tensors[f"{name}.low_rank_up"])
            self.down[name].copy_(tensors[f"{name}.low_rank_down"])
