"""Tune a decoder: write the model's outputs for a split to the disk once, then decode them with many options."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ..data.corpora import Corpus
from ..evaluation.metrics import Scores, Utterance, score
from ..evaluation.predictions import predict, split_batches
from ..model.processing_deepspeech2 import DeepSpeech2Processor
from ..system.markdown import markdown_table
from .decoder import Decoder, Speller
from .options import DecoderOptions


@dataclass(frozen=True)
class StoredLogits:
    """
    The log-probabilities of a split, float32, one utterance after another in a file. Memory holds one at a time.

    Args:
        path: the file.
        utterances: the utterances with their references. The hypotheses are empty.
        lengths: frames of each utterance.
        vocab_size: symbols per frame.
    """

    path: Path
    utterances: tuple[Utterance, ...]
    lengths: tuple[int, ...]
    vocab_size: int

    def __iter__(self) -> Iterator[tuple[Utterance, torch.Tensor]]:
        """Yield each utterance and its log-probabilities (1, T', V)."""
        with self.path.open("rb") as file:
            for utterance, length in zip(self.utterances, self.lengths, strict=True):
                values = np.fromfile(file, np.float32, length * self.vocab_size)
                yield utterance, torch.from_numpy(values.reshape(1, length, self.vocab_size))

    def spoken(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yield id, transcript and log-probabilities (T', V) of each utterance."""
        for utterance, log_probs in self:
            yield utterance.id, utterance.reference, log_probs[0].numpy()


@contextmanager
def stored_split(
    model: nn.Module,
    processor: DeepSpeech2Processor,
    corpora: Sequence[Corpus],
    output_dir: Path,
    batch_seconds: float,
    trimmed: bool = False,
) -> Iterator[StoredLogits]:
    """
    Store a model's log-probabilities for a split in a temporary file, which the end of the `with` block deletes.

    Args:
        model: a `DeepSpeech2ForCTC`.
        processor: its processor.
        corpora, batch_seconds: the split, as for `EvaluationStream`.
        output_dir: the folder for the file, and for the records of dropped utterances.
        trimmed: whether silence at the ends of utterances is cut off.

    Raises:
        ValueError: the split has no utterances.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    batches = split_batches(corpora, processor, batch_seconds, output_dir / "drops", trimmed=trimmed)
    with tempfile.TemporaryDirectory(dir=output_dir) as folder:
        yield store_logits(model, batches, Path(folder, "logits"))


def store_logits(model: nn.Module, batches: Iterable[dict], path: Path) -> StoredLogits:
    """
    Write a model's log-probabilities for a split to `path`.

    Args:
        model: a `DeepSpeech2ForCTC`. It is in evaluation mode meanwhile.
        batches: batches of an `EvaluationStream`.

    Raises:
        ValueError: the split has no utterances.
    """
    was_training = model.training
    model.eval()
    utterances: list[Utterance] = []
    lengths: list[int] = []
    vocab_size = 0
    with path.open("wb") as file:
        for batch, outputs in predict(model, batches):
            log_probs = outputs.logits.detach().float().log_softmax(-1).cpu().numpy()
            vocab_size = log_probs.shape[-1]
            rows = zip(batch["ids"], batch["speaker_ids"], batch["durations_s"], batch["texts"], strict=True)
            for row, of_clip, length in zip(rows, log_probs, outputs.output_lengths.tolist(), strict=True):
                of_clip[:length].tofile(file)
                utterances.append(Utterance(*row, hypothesis=""))
                lengths.append(length)
    model.train(was_training)
    if not utterances:
        raise ValueError("the split has no utterances to decode: check its name, and which utterances the filters drop")
    return StoredLogits(path, tuple(utterances), tuple(lengths), vocab_size)


def judge_words(stored: StoredLogits, decoder: Decoder) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the confidence of each decoded word, (N,), and whether it is right, (N,). A word is right if it is a hit in
    the alignment with the reference.
    """
    confidences: list[float] = []
    transcribed: list[Utterance] = []
    for utterance, log_probs in stored:
        (hypothesis,) = decoder.decode(log_probs, torch.tensor([log_probs.shape[1]]))
        confidences += [word.confidence for word in hypothesis.words]
        transcribed.append(replace(utterance, hypothesis=hypothesis.text))
    steps = [
        step for one in score(transcribed, bootstrap_samples=0).utterances for step in one.alignment if step.hypothesis
    ]
    return np.array(confidences), np.array([step.operation == "hit" for step in steps], bool)


@dataclass(frozen=True)
class Trial:
    """Decoder options and the scores of the split with them."""

    options: DecoderOptions
    scores: Scores


def try_options(
    stored: StoredLogits, decoder: Decoder, options: Sequence[DecoderOptions], num_workers: int
) -> list[Trial]:
    """
    Score a split with each of several decoder options.

    Args:
        stored: the log-probabilities of the split.
        decoder: the processor and frame times come from it.
        options: the options to try.
        num_workers: number of processes. Each one tries one of the options at a time.
    """
    given = (stored, decoder.processor, decoder.frame_s, decoder.first_frame_s)
    with ProcessPoolExecutor(num_workers, get_context("spawn"), _start, given) as pool:
        done = tqdm(pool.map(_try, options), total=len(options), unit="decoder", dynamic_ncols=True)
        return [Trial(one, scores) for one, scores in zip(options, done, strict=True)]


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the lowest WER. Ties go to the lower CER, then to the smaller alpha."""
    return min(trials, key=lambda one: (one.scores.wer, one.scores.cer, one.options.alpha))


def trials_table(trials: Sequence[Trial]) -> str:
    """Return a Markdown table of the trials, in their order."""
    rows = []
    for trial in trials:
        one = trial.options
        decoder = [f"beam {one.beam_size}", f"{one.alpha:g}", f"{one.beta:g}"] if one.beam_size else ["greedy", "", ""]
        rows.append([*decoder, f"{100 * trial.scores.wer:.2f}", f"{100 * trial.scores.cer:.2f}"])
    return markdown_table(["decoder", "alpha", "beta", "WER %", "CER %"], rows)


def edges_of(best: DecoderOptions, trials: Sequence[Trial]) -> list[str]:
    """Return which of alpha and beta have their best value at the edge of the grid. A better one may lie beyond it."""
    at_edge = []
    for name in ("alpha", "beta"):
        values = sorted({getattr(trial.options, name) for trial in trials})
        if len(values) > 1 and getattr(best, name) in (values[0], values[-1]):
            at_edge.append(name)
    return at_edge


_given: list[tuple[StoredLogits, Speller, float, float]] = []


def _start(stored: StoredLogits, processor: Speller, frame_s: float, first_frame_s: float) -> None:
    torch.set_num_threads(1)
    _given.append((stored, processor, frame_s, first_frame_s))


def _try(options: DecoderOptions) -> Scores:
    stored, processor, frame_s, first_frame_s = _given[0]
    decoder = Decoder(processor, frame_s, first_frame_s, options)
    return score(
        [
            replace(utterance, hypothesis=decoder.texts(log_probs, torch.tensor([log_probs.shape[1]]))[0])
            for utterance, log_probs in stored
        ],
        bootstrap_samples=0,
    )
