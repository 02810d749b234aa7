"""Low-rank updates of matrices (Hu et al., "LoRA", 2021) that leave the model a plain one at every moment."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback

WEIGHTS_NAME = "low_rank.safetensors"


class LowRankUpdates(TrainerCallback):
    """
    Trains `W = W0 + scale / rank * up @ down`, of which only `up` (rows, rank) and `down` (rank, columns) are learnt.

    The model holds W itself: it is saved, averaged, scored and exported like any other, and there is nothing to merge.
    W gets its gradient in the backward pass, which gives the factors theirs by the chain rule; a step of theirs gives
    the new W. PEFT (0.21) does not serve: it refuses an nn.LSTM, and its wrapper of a weight hides the layer's others.

    Args:
        model: still with the weights that it starts from; they are kept, W0.
        names: of its matrices.
        rank: of each update.
        scale: how strongly the factors count, LoRA's alpha.
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
        """To the model's device."""
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
            if weight.grad is None:  # a step that is left out, or a group that does not learn yet
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
        """Whether the model holds its start and these updates; an average or an interpolation does not."""
        factors = {name: self.factors(name) for name in self.weights}
        wanted = {name: torch.addmm(self._start[name], *both, alpha=self.factor) for name, both in factors.items()}
        return all(torch.allclose(self.weights[name], one, atol=1e-6) for name, one in wanted.items())

    def tensors(self) -> dict[str, torch.Tensor]:
        """The factors as `NAME.low_rank_up` and `NAME.low_rank_down`, on the CPU."""
        return {
            f"{name}.low_rank_{kind}": one.detach().cpu().contiguous()
            for name in self.weights
            for kind, one in zip(("up", "down"), self.factors(name), strict=True)
        }

    def save(self, folder: Path) -> None:
        """The factors, for a checkpoint."""
        save_file(self.tensors(), folder / WEIGHTS_NAME)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """The factors of a checkpoint; the model's own weights come with the checkpoint's others."""
        tensors = load_file(folder / WEIGHTS_NAME)
        for name in self.weights:
            self.up[name].copy_(tensors[f"{name}.low_rank_up"])
            self.down[name].copy_(tensors[f"{name}.low_rank_down"])
