"""Choose the trained weights: groups, learning rates by depth, gradual unfreezing, low-rank updates, L2-SP."""

import logging
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate.utils import reduce
from torch import nn
from torch.optim import Optimizer

from ...config.method_arguments import AdaptationArguments
from ...model.modeling_deepspeech2 import DeepSpeech2ForCTC
from .low_rank import LowRankUpdates
from .update_files import write_updates

logger = logging.getLogger(__name__)

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def place_of(name: str) -> str:
    """Return the part of a parameter: `convs`, `layers.0`, ..., `lookahead`, `head`. Norms and adapters belong to the
    layer that they follow."""
    if layer := re.match(r"model\.(?:layers|norms|adapters)\.(\d+)\.", name):
        return f"layers.{layer[1]}"
    return {"convs": "convs", "lookahead": "lookahead"}.get(name.split(".")[1], "head")


def parameter_groups(model: DeepSpeech2ForCTC) -> dict[str, list[str]]:
    """
    Return the parameter names by group, from input to output.

    The groups are `convs`, `layers.0`, `layers.1`, ..., `lookahead` if the model has one, and `head`. Batch norms are
    in the group `norms`, and adapters, if there are any, in `adapters`.
    """
    norms = [name for name, module in model.named_modules() if isinstance(module, NORMS)]
    groups: dict[str, list[str]] = {}
    apart: dict[str, list[str]] = {"norms": [], "adapters": []}
    for name, _ in model.named_parameters():
        if name.rpartition(".")[0] in norms:
            apart["norms"].append(name)
        elif name.startswith("model.adapters."):
            apart["adapters"].append(name)
        else:
            groups.setdefault(place_of(name), []).append(name)
    return groups | {name: names for name, names in apart.items() if names}


class Adaptation:
    """
    Apply `AdaptationArguments` to a model.

    Args:
        arguments: the arguments.
        model: the model with its starting weights, even if a checkpoint will be loaded into it. Frozen parameters lose
            `requires_grad`.
        max_steps: optimizer steps of the training.

    Raises:
        ValueError: a group does not exist, nothing would be trained, or the schedule would not unfreeze everything.
    """

    def __init__(self, arguments: AdaptationArguments, model: DeepSpeech2ForCTC, max_steps: int):
        self.arguments, self._model = arguments, model
        self._parameters = dict(model.named_parameters())
        groups = parameter_groups(model)
        unknown = [name for name in arguments.trained_groups if name not in groups]
        if unknown:
            raise ValueError(
                f"trained_groups has {', '.join(map(repr, unknown))}; expected groups of this model: "
                f"{', '.join(groups)}"
            )
        chosen = [*arguments.trained_groups, *(["adapters"] if arguments.adapter_size else [])]
        whole = dict.fromkeys(chosen or ([] if arguments.low_rank else groups))
        self._whole = [name for group in whole for name in groups[group]]
        self._in_part = bool(chosen or arguments.low_rank)
        if self._in_part:
            for name, parameter in self._parameters.items():
                parameter.requires_grad_(name in self._whole)
        self.low_rank: LowRankUpdates | None = None
        if arguments.low_rank:
            matrices = [
                name
                for name, one in self._parameters.items()
                if one.dim() == 2 and name not in [*self._whole, *groups.get("adapters", [])]
            ]
            self.low_rank = LowRankUpdates(model, matrices, arguments.low_rank, arguments.low_rank_scale)
        places = [place_of(name) for name in [*self._whole, *(self.low_rank.weights if self.low_rank else ())]]
        self._depths = {place: depth for depth, place in enumerate(reversed(list(dict.fromkeys(_in_order(places)))))}
        every = arguments.unfreeze_every
        self.steps_each = math.ceil(every * max_steps) if every < 1 else int(every)
        last = self.steps_each * (len(self._depths) - 1)
        if last >= max_steps:
            raise ValueError(
                f"unfreeze_every {every:g} would unfreeze the last of {len(self._depths)} parts at step {last}, but "
                f"the training has {max_steps} steps; expected less than 1/{len(self._depths) - 1} of the steps"
            )
        self._start = {name: self._parameters[name].detach().clone() for name in self._whole if arguments.l2_sp}
        self._step = 0
        if arguments.norm_statistics != "update" or self.steps_each:
            # A function, so that a copy of the model (for its average) does not copy this object.
            model.register_forward_pre_hook(lambda module, inputs: self._hold_statistics(module))

    @property
    def num_trained(self) -> int:
        """The number of trained parameters."""
        own = self.low_rank.num_parameters() if self.low_rank else 0
        return own + sum(self._parameters[name].numel() for name in self._whole)

    @property
    def plain(self) -> bool:
        """Whether all weights are trained in the same manner."""
        return self.arguments == AdaptationArguments()

    def begin(self, device: torch.device) -> None:
        """Move the state to the device of the model."""
        self._start = {name: one.to(device) for name, one in self._start.items()}
        if self.low_rank:
            self.low_rank.begin(device)

    def depth(self, name: str) -> int:
        """Return 0 for the trained part nearest to the output, 1 for the next one below it, and so on."""
        return self._depths[place_of(name)]

    def join(self, optimizer: Optimizer) -> None:
        """Add the factors of low-rank updates to the optimizer, and give each part its own learning rate."""
        names = {one: name for name, one in self._parameters.items()}
        if self.low_rank:
            for name in self.low_rank.weights:
                names |= dict.fromkeys(self.low_rank.factors(name), name)
            factors = [one for name in self.low_rank.weights for one in self.low_rank.factors(name)]
            first = optimizer.param_groups[0]
            optimizer.add_param_group({**first, "params": factors})
        if self.arguments.layer_lr_decay == 1:
            return
        groups = list(optimizer.param_groups)
        optimizer.param_groups.clear()
        for group in groups:
            by_depth: dict[int, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                by_depth.setdefault(self.depth(names[parameter]), []).append(parameter)
            for depth, parameters in sorted(by_depth.items()):
                rate = group["lr"] * self.arguments.layer_lr_decay**depth
                optimizer.add_param_group({**group, "params": parameters, "lr": rate})

    @contextmanager
    def backward_pass(self, step: int, share: float) -> Iterator[None]:
        """
        Wrap a forward and backward pass.

        Parts that are still frozen at `step` keep their weights and their norm statistics. The other weights are pulled
        towards their starting values (Li et al., "L2-SP", 2018).

        Args:
            step: the optimizer step.
            share: the share of this pass in the step: 1 without gradient accumulation.
        """
        self._step = step
        yield
        with torch.no_grad():
            self._change_gradients(share)

    def _held_back(self, name: str) -> bool:
        return self._step < self.depth(name) * self.steps_each

    def _hold_statistics(self, model: nn.Module) -> None:
        """Put norms that do not update their running statistics in evaluation mode, so that they use and keep them."""
        for name, one in model.named_modules():
            if isinstance(one, NORMS):
                weight = f"{name}.weight"
                if self.arguments.norm_statistics != "update" or (weight in self._whole and self._held_back(weight)):
                    one.eval()

    def _change_gradients(self, share: float) -> None:
        for name in [*self._whole, *(self.low_rank.weights if self.low_rank else ())]:
            parameter = self._parameters[name]
            if self._held_back(name):
                parameter.grad = None
            elif name in self._start and parameter.grad is not None:
                parameter.grad.add_(parameter - self._start[name], alpha=share * self.arguments.l2_sp)

    def save(self, folder: Path) -> None:
        """Save the state that is in no other file of a checkpoint."""
        if self.low_rank:
            self.low_rank.save(folder)

    def load(self, folder: Path) -> None:
        if self.low_rank:
            self.low_rank.load(folder)

    def save_result(self, folder: Path, best: Path | None) -> None:
        """
        Write the updates beside the trained model, if only some of its weights were trained.

        Args:
            folder: the folder of the trained model.
            best: the checkpoint that the model comes from; None means the last step.
        """
        if not self._in_part:
            return
        if self.low_rank and best is not None:
            self.low_rank.load(best)
        if self.low_rank and not self.low_rank.is_all_that_changed():
            logger.info(
                "no update file is written: the average of low-rank updates has a higher rank, so only the full model "
                "holds it"
            )
            return
        norms = [name for name, module in self._model.named_modules() if isinstance(module, NORMS)]
        if self.arguments.norm_statistics != "reestimate":
            norms = [name for name in norms if f"{name}.weight" in self._whole]
        changed = {
            name: one
            for name, one in self._model.state_dict().items()
            if name in self._whole or name.rpartition(".")[0] in norms
        }
        if self.arguments.new_characters:  # the starting model has another head
            changed["ctc_head.weight"] = self._model.ctc_head.weight
        write_updates(folder, changed, self.low_rank, self._model.config)


def _in_order(places: list[str]) -> Iterator[str]:
    """Yield the parts from input to output."""
    layers = sorted({place for place in places if place.startswith("layers.")}, key=lambda place: int(place[7:]))
    return (place for place in ["convs", *layers, "lookahead", "head"] if place in places)


@torch.no_grad()
def reestimate_norms(model: DeepSpeech2ForCTC, batches: Iterable[dict]) -> int:
    """
    Re-estimate the running statistics of all batch norms. Every batch has the same weight (Li et al., "AdaBN", 2017).

    Args:
        model: its training mode is restored at the end.
        batches: batches of target speech with `input_features` and `attention_mask`, augmented or not.

    Returns:
        The number of batches of this process. The statistics are those of all processes.

    Raises:
        ValueError: there is no batch.
    """
    norms = [one for one in model.modules() if isinstance(one, NORMS)]
    momenta = [one.momentum for one in norms]
    device, was_training, count = next(model.parameters()).device, model.training, 0
    wanted = [one.weight.requires_grad for one in norms]
    model.eval()
    for one in norms:
        one.train()
        one.weight.requires_grad_(True)  # a norm without gradient does not update its statistics
    for count, batch in enumerate(batches, start=1):
        for one in norms:
            one.momentum = 1 / count
        model(batch["input_features"].to(device), batch["attention_mask"].to(device))
    all_batches = float(reduce(torch.tensor(float(count), device=device), "sum"))
    if not all_batches:
        raise ValueError("there is no speech to re-estimate the batch-norm statistics on")
    for one in norms:
        for statistic in (one.running_mean, one.running_var):
            assert statistic is not None
            statistic.copy_(reduce(statistic * (count / all_batches), "sum"))
    for one, momentum, learns in zip(norms, momenta, wanted, strict=True):
        one.momentum = momentum
        one.weight.requires_grad_(learns)
    model.train(was_training)
    return count
