"""Between a starting model and one fine-tuned from it: what is kept of the first, what is learnt by the second."""

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch

from ...model.modeling_deepspeech2 import DeepSpeech2ForCTC
from ...model.processing_deepspeech2 import DeepSpeech2Processor


@torch.no_grad()
def interpolated(start: Mapping[str, torch.Tensor], end: Mapping[str, torch.Tensor], share: float) -> dict:
    """
    Between two models of one kind, `share` of the way (Wortsman et al., "Robust fine-tuning", 2022); statistics of
    batch norms are interpolated like weights, counters are those of the end.

    Raises:
        ValueError: tensors of another number or shape.
    """
    if start.keys() != end.keys():
        some = ", ".join(sorted(start.keys() ^ end.keys())[:3])
        raise ValueError(f"the two models are not of one kind: {some} is in one of them alone")
    for name in start:
        if start[name].shape != end[name].shape:
            shapes = (" x ".join(map(str, one[name].shape)) for one in (start, end))
            raise ValueError(f"{name} has {next(shapes)} in one model and {next(shapes)} in the other")
    return {
        name: torch.lerp(one, end[name], share) if one.is_floating_point() else end[name] for name, one in start.items()
    }


def models_between(
    start: tuple[DeepSpeech2ForCTC, DeepSpeech2Processor],
    end: tuple[DeepSpeech2ForCTC, DeepSpeech2Processor],
    shares: Sequence[float],
) -> Iterator[tuple[float, DeepSpeech2ForCTC]]:
    """
    Models on the way from one to another, one at a time: each is the same object with other weights.

    Args:
        start, end: models with their processors, left as they are.
        shares: of the way; 0 is the start, 1 the end.

    Raises:
        ValueError: the models have other sizes, or rows of the head for other characters; or a share out of its range.
    """
    outside = [share for share in shares if not 0 <= share <= 1]
    if outside:
        raise ValueError(f"alphas has {', '.join(map(str, outside))}; expected shares between 0 and 1")
    if start[1].tokenizer.get_vocab() != end[1].tokenizer.get_vocab():
        raise ValueError(
            "the two models have other alphabets, or their characters in another order; expected a model and one that "
            "was fine-tuned from it without new_characters"
        )
    model = copy.deepcopy(end[0])
    for share in shares:
        model.load_state_dict(interpolated(start[0].state_dict(), end[0].state_dict(), share))
        yield share, model
