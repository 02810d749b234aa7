"""Pseudo-labels: a model's own transcripts of speech that has none, with their confidences."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from accelerate.utils import gather_object

from ..evaluation.predictions import predict
from ..model.modeling_deepspeech2 import DeepSpeech2ForCTC
from ..model.processing_deepspeech2 import DeepSpeech2Processor


class PseudoLabel(NamedTuple):
    """A text by greedy decoding, with its `confidence`."""

    id: str
    text: str
    confidence: float
    duration_s: float


def confidences(logits: torch.Tensor, lengths: torch.Tensor, blank: int) -> torch.Tensor:
    """
    exp of the mean log-probability of the likeliest symbol over the frames where that is not the blank: of a text's
    letters, the geometric mean of the probabilities. Frames of blanks, most of them and nearly all sure, would hide it.

    Args:
        logits: (B, T, V).
        lengths: (B,) frames of each.
        blank: the blank's id.

    Returns:
        (B,) from 0 to 1; 0 where all is blank.
    """
    best, symbols = logits.float().log_softmax(-1).max(-1)
    counted = (torch.arange(logits.shape[1], device=lengths.device) < lengths[:, None]) & (symbols != blank)
    counts = counted.sum(1)
    mean = best.where(counted, 0.0).sum(1) / counts.clamp(min=1)
    return mean.exp().where(counts > 0, 0.0)


def pseudo_labels(
    model: DeepSpeech2ForCTC, processor: DeepSpeech2Processor, batches: Iterable[dict]
) -> list[PseudoLabel]:
    """
    The model's transcript of each clip, sorted by id. Every process brings its part and gets the whole.

    Args:
        model, processor: as loaded; mode and device are left as they are.
        batches: of an `EvaluationStream` with `transcribed=False`.
    """
    own: list[PseudoLabel] = []
    for batch, outputs in predict(model, batches):
        sure = confidences(outputs.logits, outputs.output_lengths, model.config.pad_token_id).tolist()
        texts = processor.batch_decode(outputs.logits.argmax(-1).cpu())
        own += map(PseudoLabel, batch["ids"], texts, sure, batch["durations_s"])
    return sorted(gather_object(own))
