"""Pseudo-labels: a model's transcripts of untranscribed speech, with confidences."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from accelerate.utils import gather_object

from ..evaluation.predictions import predict
from ..model.modeling_deepspeech2 import DeepSpeech2ForCTC
from ..model.processing_deepspeech2 import DeepSpeech2Processor


class PseudoLabel(NamedTuple):
    """A greedy transcript of a clip, with its `confidence`."""

    id: str
    text: str
    confidence: float
    duration_s: float


def confidences(logits: torch.Tensor, lengths: torch.Tensor, blank: int) -> torch.Tensor:
    """
    Return the confidence of each clip's greedy transcript: the geometric mean of the probabilities of its letters.

    It is exp of the mean log-probability of the likeliest symbol, over the frames where that is not the blank. Blank
    frames are left out: they are the majority, nearly all of them have a probability near 1, and would hide the rest.

    Args:
        logits: (B, T, V).
        lengths: (B,) frames of each clip.
        blank: the id of the blank.

    Returns:
        (B,) from 0 to 1. It is 0 if all frames are blank.
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
    Return the model's transcript of each clip, sorted by id. Every process transcribes its share and gets all results.

    Args:
        model, processor: as loaded. Mode and device of the model do not change.
        batches: batches of an `EvaluationStream` with `transcribed=False`.
    """
    own: list[PseudoLabel] = []
    for batch, outputs in predict(model, batches):
        sure = confidences(outputs.logits, outputs.output_lengths, model.config.pad_token_id).tolist()
        texts = processor.batch_decode(outputs.logits.argmax(-1).cpu())
        own += map(PseudoLabel, batch["ids"], texts, sure, batch["durations_s"])
    return sorted(gather_object(own))
