"""Random weights of one model replaced by those that a trained one has of the same name and shape."""

import logging

import torch

from .modeling_deepspeech2 import DeepSpeech2ForCTC

logger = logging.getLogger(__name__)


@torch.no_grad()
def take_weights(model: DeepSpeech2ForCTC, source: DeepSpeech2ForCTC) -> int:
    """
    Copies into `model` whatever `source` has of the same name and shape; how many weights came stands in the log.

    Of a bidirectional checkpoint a unidirectional model takes the convolutions, the forward direction of each recurrent
    layer, the norms and the head; its lookahead then begins by passing on the present frame alone.

    Returns:
        The number of weights taken.

    Raises:
        ValueError: not one fits.
    """
    theirs = dict(source.named_parameters()) | dict(source.named_buffers())
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    taken = [name for name in own if name in theirs and theirs[name].shape == own[name].shape]
    for name in taken:
        own[name].copy_(theirs[name])
    lookahead = model.model.lookahead
    if lookahead is not None and source.model.lookahead is None:
        lookahead.conv.weight.zero_()
        lookahead.conv.weight[:, :, 0] = 1.0
    count = sum(own[name].numel() for name in taken if name in dict(model.named_parameters()))
    if not count:
        raise ValueError(
            "warm_start: no weight of that checkpoint has the name and shape of one of this model; give model_config "
            "and feature_config its sizes, as its config.json and processor_config.json name them"
        )
    logger.info(
        "warm start: %s of %s weights are the checkpoint's; not %s",
        f"{count:,}",
        f"{model.num_parameters():,}",
        ", ".join(name for name in own if name not in taken) or "one is new",
    )
    return count
