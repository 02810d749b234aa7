"""Interpolate between a starting model and a model fine-tuned from it, to trade retention against adaptation."""

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch

from ...model.modeling_deepspeech2 import DeepSpeech2ForCTC
from ...model.processing_deepspeech2 import DeepSpeech2Processor


@torch.no_grad()
def interpolated(start: Mapping[str, torch.Tensor], end: Mapping[str, torch.Tensor], share: float) -> dict:
    """
    Interpolate linearly between two models of one architecture (Wortsman et al., "Robust fine-tuning", 2022).

    Batch-norm statistics are interpolated like weights. Counters are taken from the end.

    Args:
        start, end: state dicts.
        share: the position between them: 0 is the start, 1 the end.

    Raises:
        ValueError: the two have different tensors or shapes.
    """
    if start.keys() != end.keys():
        some = ", ".join(sorted(start.keys() ^ end.keys())[:3])
        raise ValueError(f"the two models have different architectures: only one of them has {some}")
    for name in start:
        if start[name].shape != end[name].shape:
            shapes = (" x ".join(map(str, one[name].shape)) for one in (start, end))
            raise ValueError(f"the shape of {name} is {next(shapes)} in one model and {next(shapes)} in the other")
    return {
        name: torch.lerp(one, end[name], share) if one.is_floating_point() else end[name] for name, one in start.items()
    }


def models_between(
    start: tuple[DeepSpeech2ForCTC, DeepSpeech2Processor],
    end: tuple[DeepSpeech2ForCTC, DeepSpeech2Processor],
    shares: Sequence[float],
) -> Iterator[tuple[float, DeepSpeech2ForCTC]]:
    """
    Yield the interpolated models one at a time. Each is the same object with other weights.

    Args:
        start, end: models with their processors; they are not changed.
        shares: positions between the two: 0 is the start, 1 the end.

    Raises:
        ValueError: the models have different sizes or alphabets, or a share is not between 0 and 1.
    """
    outside = [share for share in shares if not 0 <= share <= 1]
    if outside:
        raise ValueError(f"alphas has {', '.join(map(str, outside))}; expected numbers from 0 to 1")
    if start[1].tokenizer.get_vocab() != end[1].tokenizer.get_vocab():
        raise ValueError(
            "the two models have different alphabets, or the same characters in another order; expected a model and "
            "one fine-tuned from it without new_characters"
        )
    model = copy.deepcopy(end[0])
    for share in shares:
        model.load_state_dict(interpolated(start[0].state_dict(), end[0].state_dict(), share))
        yield share, model
