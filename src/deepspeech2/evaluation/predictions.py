"""Run a model over a split: the batches of this process, and the outputs of the model."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

from ..data.corpora import Corpus
from ..data.streams import EvaluationStream, build_eval_loader
from ..model.processing_deepspeech2 import DeepSpeech2Processor


def split_batches(
    corpora: Sequence[Corpus],
    processor: DeepSpeech2Processor,
    batch_seconds: float,
    drops_dir: Path | None = None,
    trimmed: bool = False,
    num_workers: int = 1,
) -> Iterable[dict]:
    """
    Return the batches of this process's part of a split. Separate worker processes read them and compute features.

    Args:
        corpora, processor, batch_seconds, drops_dir, trimmed: as for `EvaluationStream`.
        num_workers: the number of worker processes for local speech.
    """
    state = PartialState()
    stream = EvaluationStream(
        corpora,
        processor,
        batch_seconds=batch_seconds,
        rank=state.process_index,
        world_size=state.num_processes,
        drops_dir=drops_dir,
        trimmed=trimmed,
    )
    return build_eval_loader(stream, num_workers)


def predict(model: nn.Module, batches: Iterable[dict], with_loss: bool = False) -> Iterator[tuple[dict, Any]]:
    """
    Yield each batch with the output of the model, in inference mode, one at a time.

    Args:
        model: a `DeepSpeech2ForCTC`. Its mode and device are not changed.
        batches: batches of an `EvaluationStream`.
        with_loss: whether the model gets the labels of batches that have them.
    """
    device = next(model.parameters(), torch.empty(0)).device  # an ONNX graph has no parameters: the CPU
    for batch in batches:
        labels = batch.get("labels") if with_loss else None
        with torch.inference_mode():
            outputs = model(
                batch["input_features"].to(device),
                batch["attention_mask"].to(device),
                labels=None if labels is None else labels.to(device),
            )
        yield batch, outputs
