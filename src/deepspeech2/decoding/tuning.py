"""Tuning a decoder: the model's output over a split is written to the disk once, and decoded from there many times."""

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
from .decoder import Decoder
from .options import DecoderOptions


@dataclass(frozen=True)
class StoredLogits:
    """
    Log-probabilities of a split, float32 one utterance after another in a file, of which memory holds one at a time.

    Args:
        path: the file.
        utterances: what was said in each; the hypotheses are empty.
        lengths: frames of each.
        vocab_size: symbols of a frame.
    """

    path: Path
    utterances: tuple[Utterance, ...]
    lengths: tuple[int, ...]
    vocab_size: int

    def __iter__(self) -> Iterator[tuple[Utterance, torch.Tensor]]:
        """Each utterance and its log-probabilities (1, T', V)."""
        with self.path.open("rb") as file:
            for utterance, length in zip(self.utterances, self.lengths, strict=True):
                values = np.fromfile(file, np.float32, length * self.vocab_size)
                yield utterance, torch.from_numpy(values.reshape(1, length, self.vocab_size))

    def spoken(self) -> Iterator[tuple[str, str, np.ndarray]]:
        """Id, transcript and log-probabilities (T', V) of each utterance."""
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
    A model's log-probabilities over a split, in a file that lasts as long as the `with` block.

    Args:
        model: a `DeepSpeech2ForCTC`.
        processor: its processor.
        corpora, batch_seconds: the split, as for `EvaluationStream`.
        output_dir: for the file, and for the records of dropped utterances.
        trimmed: whether silence at the ends of utterances is cut off.

    Raises:
        ValueError: no utterance.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    batches = split_batches(corpora, processor, batch_seconds, output_dir / "drops", trimmed=trimmed)
    with tempfile.TemporaryDirectory(dir=output_dir) as folder:
        yield store_logits(model, batches, Path(folder, "logits"))


def store_logits(model: nn.Module, batches: Iterable[dict], path: Path) -> StoredLogits:
    """
    Writes a model's log-probabilities over a split to `path`.

    Args:
        model: a `DeepSpeech2ForCTC`; put in evaluation mode and back.
        batches: as `EvaluationStream` yields them.

    Raises:
        ValueError: no utterance.
    """
    was_training = model.training
    model.eval()
    utterances: list[Utterance] = []
    lengths: list[int] = []
    vocab_size = 0
    with path.open("wb") as file:
        for batch, outputs in predict(model, batches):
            log_probs = outputs.logits.float().log_softmax(-1).cpu().numpy()
            vocab_size = log_probs.shape[-1]
            rows = zip(batch["ids"], batch["speaker_ids"], batch["durations_s"], batch["texts"], strict=True)
            for row, of_clip, length in zip(rows, log_probs, outputs.output_lengths.tolist(), strict=True):
                of_clip[:length].tofile(file)
                utterances.append(Utterance(*row, hypothesis=""))
                lengths.append(length)
    model.train(was_training)
    if not utterances:
        raise ValueError("the split has no utterance to decode: check its name and what the filters dropped")
    return StoredLogits(path, tuple(utterances), tuple(lengths), vocab_size)


def judge_words(stored: StoredLogits, decoder: Decoder) -> tuple[np.ndarray, np.ndarray]:
    """
    The confidence of each word that the decoder writes, (N,), and whether it is right, (N,): a hit in the alignment
    with the reference.
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
    options: DecoderOptions
    scores: Scores


def try_options(
    stored: StoredLogits, decoder: Decoder, options: Sequence[DecoderOptions], num_workers: int
) -> list[Trial]:
    """
    The error rates of a split by each decoder.

    Args:
        decoder: whose processor and frame times they share.
        options: of the decoders.
        num_workers: decoders tried at a time, each in a process.
    """
    given = (stored, decoder.processor, decoder.frame_s, decoder.first_frame_s)
    with ProcessPoolExecutor(num_workers, get_context("spawn"), _start, given) as pool:
        done = tqdm(pool.map(_try, options), total=len(options), unit="decoder", dynamic_ncols=True)
        return [Trial(one, scores) for one, scores in zip(options, done, strict=True)]


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The lowest WER; among equals the lowest CER, then the smaller alpha."""
    return min(trials, key=lambda one: (one.scores.wer, one.scores.cer, one.options.alpha))


def trials_table(trials: Sequence[Trial]) -> str:
    """In Markdown, in the order of the trials."""
    rows = []
    for trial in trials:
        one = trial.options
        decoder = [f"beam {one.beam_size}", f"{one.alpha:g}", f"{one.beta:g}"] if one.beam_size else ["greedy", "", ""]
        rows.append([*decoder, f"{100 * trial.scores.wer:.2f}", f"{100 * trial.scores.cer:.2f}"])
    return markdown_table(["decoder", "alpha", "beta", "WER %", "CER %"], rows)


def edges_of(best: DecoderOptions, trials: Sequence[Trial]) -> list[str]:
    """Of alpha and beta, those whose best value is an end of what was tried: a better one may lie beyond."""
    at_edge = []
    for name in ("alpha", "beta"):
        values = sorted({getattr(trial.options, name) for trial in trials})
        if len(values) > 1 and getattr(best, name) in (values[0], values[-1]):
            at_edge.append(name)
    return at_edge


_given: list[tuple[StoredLogits, DeepSpeech2Processor, float, float]] = []


def _start(stored: StoredLogits, processor: DeepSpeech2Processor, frame_s: float, first_frame_s: float) -> None:
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
