"""Update files: a small file with the changes of a training, which can be applied to the starting model."""

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
SIZES = ("adapter_size", "vocab_size", "pad_token_id")  # settings of the configuration that a training may change
UP, DOWN = ".low_rank_up", ".low_rank_down"


def write_updates(
    folder: Path, changed: Mapping[str, torch.Tensor], low_rank: LowRankUpdates | None, config: PreTrainedConfig
) -> None:
    """
    Write updates.safetensors and updates.json.

    Args:
        folder: an existing folder.
        changed: new values of whole tensors, by name.
        low_rank: low-rank updates of other matrices, or None.
        config: the configuration of the trained model.
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
    Apply the updates to the model from which their training started, and return a plain new model.

    Args:
        model: the starting model, from `load_model`. It is not changed. If the training changed the alphabet, use the
            processor of the run with the result.
        folder: the folder of the run, or a folder with its updates.safetensors and updates.json.

    Raises:
        ValueError: the folder has no updates, or the model lacks one of their tensors or has it in another shape.
    """
    if not (folder / WEIGHTS_NAME).is_file():
        raise ValueError(
            f"{folder} has no {WEIGHTS_NAME}; expected the folder of a run with trained_groups, adapter_size or "
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
    except (KeyError, RuntimeError) as error:  # a missing matrix, another shape, an unexpected tensor
        raise ValueError(
            f"the updates in {folder} belong to another model ({error}); apply them to the model from which their "
            "training started"
        ) from error
    return updated
