"""What a training has changed of a model: a small file, to be put onto the model that it started from."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig

from ...model.modeling_deepspeech2 import DeepSpeech2ForCTC
from .low_rank import LowRankUpdates

WEIGHTS_NAME, CONFIG_NAME = "updates.safetensors", "updates.json"
SIZES = ("adapter_size", "vocab_size", "pad_token_id")  # of the configuration, which a training may change
UP, DOWN = ".low_rank_up", ".low_rank_down"


def write_updates(
    folder: Path, changed: Mapping[str, torch.Tensor], low_rank: LowRankUpdates | None, config: PreTrainedConfig
) -> None:
    """
    Writes updates.safetensors and updates.json.

    Args:
        folder: that is there.
        changed: new values of whole tensors, by name.
        low_rank: what other matrices have changed by, if they have.
        config: of the trained model.
    """
    factors = low_rank.tensors() if low_rank else {}
    factors = {name: one for name, one in factors.items() if name.rpartition(".")[0] not in changed}
    whole = {name: one.detach().cpu().contiguous() for name, one in changed.items()}
    save_file(factors | whole, folder / WEIGHTS_NAME)
    facts = {name: getattr(config, name) for name in SIZES} | {"low_rank_factor": low_rank.factor if low_rank else 0.0}
    (folder / CONFIG_NAME).write_text(json.dumps(facts, indent=2), encoding="utf-8")


@torch.no_grad()
def apply_updates(model: DeepSpeech2ForCTC, folder: Path) -> DeepSpeech2ForCTC:
    """
    A plain model, all updates merged, from the one that their training started from, which is left as it is.

    Args:
        model: that one; `load_model` gives it. For another alphabet the processor is that of the run.
        folder: of the run, or with its updates.safetensors and updates.json alone.

    Raises:
        ValueError: the folder has none, or the model lacks a tensor of theirs or has it in another shape.
    """
    if not (folder / WEIGHTS_NAME).is_file():
        raise ValueError(
            f"{folder} holds no {WEIGHTS_NAME}; expected the folder of a run with trained_groups, adapter_size or "
            "low_rank"
        )
    facts = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    tensors, state = load_file(folder / WEIGHTS_NAME, device=str(model.device)), model.state_dict()
    config = copy.deepcopy(model.config)
    for name in SIZES:
        setattr(config, name, facts[name])
    updated = DeepSpeech2ForCTC(config).train(model.training)  # type: ignore[arg-type]
    updated.to(model.device)
    try:
        for name in [key.removesuffix(UP) for key in tensors if key.endswith(UP)]:
            up, down = tensors.pop(name + UP), tensors.pop(name + DOWN)
            tensors[name] = torch.addmm(state[name], up, down, alpha=facts["low_rank_factor"])
        updated.load_state_dict({**state, **tensors})
    except (KeyError, RuntimeError) as error:  # a matrix that is not there, a shape, a tensor too many
        raise ValueError(
            f"{folder} holds the updates of another model ({error}); expected the one that its training started from"
        ) from error
    return updated
