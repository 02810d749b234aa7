"""Score a model on batches of speech: utterances with hypotheses, and their error rates."""

import json
import logging
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import fields
from pathlib import Path
from typing import Protocol

import torch
from accelerate import PartialState
from accelerate.utils import broadcast, gather_object, reduce
from torch import nn
from transformers import ProcessorMixin

from ..system.files import write_whole
from .metrics import Scores, Utterance, score
from .predictions import predict

logger = logging.getLogger(__name__)


class DecodesBeside(Protocol):
    """A decoder beside the model or in its process: `DecoderWorkers` or `DecodesHere` of the decoder's module."""

    waiting: int  # how many batches the model may be ahead of the decoder

    def submit(self, logits: torch.Tensor, output_lengths: torch.Tensor) -> Future[list[str]]:
        """Start decoding logits (B, T', V) with lengths (B,) in frames. Return a future of the texts."""


def transcribe(
    model: nn.Module, processor: ProcessorMixin, batches: Iterable[dict], decoding: DecodesBeside | None = None
) -> Iterator[tuple[list[Utterance], float | None]]:
    """
    Transcribe batch by batch, and keep only the text.

    Args:
        model: a `DeepSpeech2ForCTC`. Its mode and device are not changed.
        processor: the `DeepSpeech2Processor` of the model.
        batches: batches of an `EvaluationStream`.
        decoding: decoder workers; None means greedy decoding in this process.

    Yields:
        The utterances of a batch and its loss (None if the batch has no labels).
    """
    waiting: deque[tuple[list[tuple], float | None, Future[list[str]]]] = deque()
    for batch, outputs in predict(model, batches, with_loss=True):
        loss = None if outputs.loss is None else float(outputs.loss)
        rows = list(zip(batch["ids"], batch["speaker_ids"], batch["durations_s"], batch["texts"], strict=True))
        if decoding is None:
            yield _utterances(rows, processor.batch_decode(outputs.logits.argmax(-1).cpu())), loss
            continue
        waiting.append((rows, loss, decoding.submit(outputs.logits, outputs.output_lengths)))
        if len(waiting) > decoding.waiting:
            rows, loss, texts = waiting.popleft()
            yield _utterances(rows, texts.result()), loss
    for rows, loss, texts in waiting:
        yield _utterances(rows, texts.result()), loss


def _utterances(rows: list[tuple], hypotheses: list[str]) -> list[Utterance]:
    return [
        Utterance(id=id_, speaker_id=speaker_id, duration_s=duration_s, reference=reference, hypothesis=text)
        for (id_, speaker_id, duration_s, reference), text in zip(rows, hypotheses, strict=True)
    ]


def say_what_it_brought(before: Mapping[str, Scores], after: Mapping[str, Scores]) -> None:
    """Log a warning for each split that training did not improve."""
    for split, scores in after.items():
        if split in before and scores.wer >= before[split].wer:
            logger.warning(
                "%s: training did not improve the WER: %.2f %% before, %.2f %% after. Keep the starting model, or "
                "train with more speech, more steps or another learning_rate",
                split,
                100 * before[split].wer,
                100 * scores.wer,
            )


def score_model(
    model: nn.Module, processor: ProcessorMixin, batches: Iterable[dict], decoding: DecodesBeside | None = None
) -> tuple[Scores, float]:
    """
    Score a model on a split, and measure its speed. Every process scores its part and gets the complete result.

    Args:
        model, processor, batches, decoding: as for `transcribe`. The model is put in evaluation mode and back.

    Returns:
        The scores, also by each kept column of the corpus, and the inverse real-time factor RTFx: seconds of audio per
        second of wall time in the slowest process. The time includes audio decoding, features, model and text.
    """
    was_training = model.training
    model.eval()
    start = time.perf_counter()
    columns: dict[str, list[str]] = defaultdict(list)
    found = transcribe(model, processor, _noting(batches, columns), decoding)
    own = [utterance for some, _ in found for utterance in some]
    elapsed_s = time.perf_counter() - start
    model.train(was_training)
    parts = gather_object([(own, columns, elapsed_s)])
    names = dict.fromkeys(name for _, part, _ in parts for name in part)
    scores = score(
        [utterance for part, _, _ in parts for utterance in part],
        groups={name: [value for _, part, _ in parts for value in part[name]] for name in names},
    )
    return scores, scores.audio_s / max(elapsed_s for _, _, elapsed_s in parts)


def score_processes(
    model: nn.Module, processor: ProcessorMixin, batches: Iterable[dict], sharded: bool
) -> tuple[Scores, float]:
    """
    Score a model in training. Every process scores its part and gets the complete scores and loss.

    Args:
        model, processor, batches: as for `transcribe`. The model is put in evaluation mode and back. Its buffers become
            those of the main process: in training each process has its own batch-norm statistics, and checkpoints
            hold those of the main process.
        sharded: whether the weights are sharded over the processes, which must then call the model in step.

    Raises:
        ValueError: the weights are sharded and a process has no batch.
    """
    repeated: list[dict] = []
    was_training = model.training
    model.eval()
    world_size = PartialState().num_processes
    if world_size > 1 and not sharded:
        for buffer in model.buffers():
            broadcast(buffer)
    found = list(transcribe(model, processor, _in_step(batches, repeated) if sharded else batches))
    model.train(was_training)
    del found[len(found) - len(repeated) :]
    if world_size > 1:
        found = gather_object(found)
    scores = score([utterance for some, _ in found for utterance in some])
    return scores, sum((loss or 0.0) * len(some) for some, loss in found) / scores.num_utterances


def _in_step(batches: Iterable[dict], repeated: list[dict]) -> Iterator[dict]:
    """Yield batches in step: with sharded weights, a process without batches repeats its last one until all end."""
    last = None
    iterator = iter(batches)
    while True:
        batch = next(iterator, None)
        waiting = torch.tensor(int(batch is not None), device=PartialState().device)
        if reduce(waiting, "sum").item() == 0:
            return
        if batch is None:
            repeated.append(last or {})
        last = batch or last
        if last is None:
            raise ValueError("a process has no batch to score: use fewer processes or a larger evaluation split")
        yield last


def write_utterances(scores: Scores, path: Path) -> None:
    """Write a line of JSON for each utterance: texts, rates and counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(utterance.to_dict(), ensure_ascii=False) for utterance in scores.utterances]
    write_whole(path, "\n".join(lines) + "\n")


def read_utterances(path: Path) -> list[Utterance]:
    """Read a file that `write_utterances` has written."""
    names = [one.name for one in fields(Utterance)]
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # splitlines would also split at U+2028 in an id
    rows = [json.loads(line) for line in lines]
    return [Utterance(**{name: row[name] for name in names}) for row in rows]


def utterances_name(split: str) -> str:
    """Return the file name for the utterances of a split."""
    return f"{split.replace('::', '-').replace('/', '-')}.jsonl"


def _noting(batches: Iterable[dict], columns: dict[str, list[str]]) -> Iterator[dict]:
    """Yield the batches, and collect their kept columns in `columns`."""
    for batch in batches:
        for row in batch["columns"]:
            for name, value in row.items():
                columns[name].append(value)
        yield batch
