"""A model over a split: the batches of this process, and what the model makes of each."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import nn

from ..data.corpora import Corpus
from ..data.streams import EvaluationStream, build_loader
from ..model.processing_deepspeech2 import DeepSpeech2Processor


def split_batches(
    corpora: Sequence[Corpus],
    processor: DeepSpeech2Processor,
    batch_seconds: float,
    drops_dir: Path | None = None,
    transcribed: bool = True,
    trimmed: bool = False,
) -> Iterable[dict]:
    """
    This process's part of a split, read and turned into features by a process of its own, beside the model.

    Args:
        corpora, processor, batch_seconds, drops_dir, transcribed, trimmed: as for `EvaluationStream`.
    """
    state = PartialState()
    stream = EvaluationStream(
        corpora,
        processor,
        batch_seconds=batch_seconds,
        rank=state.process_index,
        world_size=state.num_processes,
        drops_dir=drops_dir,
        transcribed=transcribed,
        trimmed=trimmed,
    )
    return build_loader(stream, num_workers=1)


def predict(model: nn.Module, batches: Iterable[dict], with_loss: bool = False) -> Iterator[tuple[dict, Any]]:
    """
    Each batch with the model's output, in inference mode; one is held at a time.

    Args:
        model: a `DeepSpeech2ForCTC`; its mode and device are left as they are.
        batches: as `EvaluationStream` yields them.
        with_loss: whether the model gets the labels of a batch that has some.
    """
    device = next(model.parameters(), torch.empty(0)).device  # an ONNX graph has none: the CPU
    for batch in batches:
        labels = batch.get("labels") if with_loss else None
        with torch.inference_mode():
            outputs = model(
                batch["input_features"].to(device),
                batch["attention_mask"].to(device),
                labels=None if labels is None else labels.to(device),
            )
        yield batch, outputs
