"""Decode logits to words with times and confidences, greedily or by beam search with a language model.

>>> decoder = load_decoder(model, processor)
>>> for hypothesis in decoder.decode(outputs.logits, outputs.output_lengths):
...     print(hypothesis.text, [(word.text, word.start_s, word.end_s, word.confidence) for word in hypothesis.words])

It imports neither torch nor transformers, which take seconds, because an ONNX model needs neither.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..system.characters import describe_character
from .beam_search import Search, build_search
from .forced_alignment import align
from .options import DECODER_NAME, DecoderOptions, read_options, read_own_options, save_options
from .words import Character, Hypothesis, Word

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

GREEDY = DecoderOptions()
GREEDY_NAME, OWN_NAME = "greedy", "its own decoder.json"


class Speller(Protocol):
    """What decoding needs of a `DeepSpeech2Processor`."""

    feature_extractor: Any  # has the sampling_rate
    tokenizer: Any  # has pad_token_id, convert_ids_to_tokens and a length

    @property
    def space_id(self) -> int: ...
    def normalize_text(self, text: str) -> str: ...
    def unknown_characters(self, normalized_text: str) -> Counter[str]: ...
    def encode(self, normalized_text: str) -> list[int]: ...


class Decoder:
    """
    Turns logits into texts, or into words with times and confidences.

    Args:
        processor: the model's processor.
        frame_s: seconds from one output frame to the next.
        first_frame_s: the middle of output frame 0, in seconds.
        options: see `DecoderOptions`.
        name: where the options come from, for reports.

    Raises:
        ImportError: beam search is chosen, but the packages of the extra `decoding` are not installed.
        ValueError: a file cannot be read, or hotwords have characters outside the vocabulary.
    """

    def __init__(
        self,
        processor: Speller,
        frame_s: float,
        first_frame_s: float = 0.0,
        options: DecoderOptions = GREEDY,
        name: str = GREEDY_NAME,
    ) -> None:
        self.processor, self.options, self.name = processor, options, name
        self.frame_s, self.first_frame_s = frame_s, first_frame_s
        self.blank = processor.tokenizer.pad_token_id
        self.space = processor.space_id
        self._tokens: list[str] = processor.tokenizer.convert_ids_to_tokens(range(len(processor.tokenizer)))
        self._search = _build_search(processor, self._tokens, self.blank, options) if options.beam_size else None

    def texts(self, logits: torch.Tensor, output_lengths: torch.Tensor) -> list[str]:
        """Return the B texts of logits (B, T', V) with (B,) frames, without words, which is faster than `decode`."""
        if self._search is None:
            best = zip(logits.argmax(-1).cpu().numpy(), output_lengths.tolist(), strict=True)
            return [self._collapse(ids[:length]) for ids, length in best]
        return [self._search(log_probs) for log_probs in _log_probs(logits, output_lengths)]

    def decode(self, logits: torch.Tensor, output_lengths: torch.Tensor) -> list[Hypothesis]:
        """Return the B texts with their words, as hypotheses, of logits (B, T', V) with (B,) frames."""
        return [self.decode_clip(log_probs) for log_probs in _log_probs(logits, output_lengths)]

    def decode_clip(self, log_probs: np.ndarray) -> Hypothesis:
        """Return the text and the words of the float32 log-probabilities (T', V) of one clip."""
        text = self._search(log_probs) if self._search else self._collapse(log_probs.argmax(-1))
        return Hypothesis(text, self._words(text, log_probs))

    def _collapse(self, ids: np.ndarray) -> str:
        """Return the text of the likeliest symbols (T',): repeats count once, blanks not at all."""
        kept = ids[np.r_[True, ids[1:] != ids[:-1]]] if len(ids) else ids
        return "".join(self._tokens[one] for one in kept if one != self.blank).strip()

    def _words(self, text: str, log_probs: np.ndarray) -> tuple[Word, ...]:
        words = text.split()
        if not words:
            return ()
        if self._search is None:
            labels, starts, ends, scores = _runs(log_probs, self.blank)
        else:
            # The search sums over all paths and keeps none, so align the text to find its likeliest path.
            labels = np.array(self.processor.encode(" ".join(words)))
            found = align(log_probs, labels, self.blank)
            starts, ends, scores = found.starts, found.ends, found.log_probs
        letters = labels != self.space
        starts_s, ends_s = self._seconds(starts[letters], len(log_probs)), self._seconds(ends[letters], len(log_probs))
        weights = (ends - starts)[letters]
        logs = scores[letters] * weights
        bounds = np.cumsum([0, *map(len, words)])
        raw = [np.exp(logs[a:b].sum() / weights[a:b].sum()) for a, b in pairwise(bounds)]
        confidences = self.options.calibration(np.array(raw)) if self.options.calibration else raw
        made = []
        for word, confidence, first in zip(words, confidences, bounds[:-1], strict=True):
            spans = zip(word, starts_s[first:], ends_s[first:], strict=False)
            characters = tuple(Character(letter, float(start), float(end)) for letter, start, end in spans)
            made.append(Word(word, characters[0].start_s, characters[-1].end_s, float(confidence), characters))
        return tuple(made)

    def _seconds(self, edges: np.ndarray, num_frames: int) -> np.ndarray:
        """Return the start of each frame, half a step before its middle, clipped to the middle of the last frame."""
        last_s = self.first_frame_s + (num_frames - 1) * self.frame_s
        return np.clip(self.first_frame_s + (edges - 0.5) * self.frame_s, 0.0, last_s)


def _log_probs(logits: torch.Tensor, output_lengths: torch.Tensor) -> list[np.ndarray]:
    """Return the float32 log-probabilities (T', V) of each clip, without its padding."""
    rows = logits.detach().float().log_softmax(-1).cpu().numpy()
    return [row[:length] for row, length in zip(rows, output_lengths.tolist(), strict=True)]


def _runs(log_probs: np.ndarray, blank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """
    Return the symbols of the likeliest path, their first frames, the frames after their last, and their mean
    log-probabilities.
    """
    ids = log_probs.argmax(-1)
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    ends = np.r_[starts[1:], len(ids)]
    means = np.add.reduceat(log_probs.max(-1).astype(np.float64), starts) / (ends - starts)
    spoken = ids[starts] != blank
    return ids[starts][spoken], starts[spoken], ends[spoken], means[spoken]


def _build_search(processor: Speller, tokens: Sequence[str], blank: int, options: DecoderOptions) -> Search:
    hotwords = [processor.normalize_text(word) for word in options.hotwords]
    faults = {
        given: [describe_character(one) for one in processor.unknown_characters(word)] or ["nothing to say"]
        for given, word in zip(options.hotwords, hotwords, strict=True)
        if not word or processor.unknown_characters(word)
    }
    if faults:
        listed = ", ".join(f"{word!r} ({', '.join(why)})" for word, why in faults.items())
        raise ValueError(
            f"hotwords: the model cannot write {listed}. Spell them as they are spoken, with the letters of the model, "
            "or leave them out"
        )
    return build_search(
        tokens,
        blank,
        language_model=Path(options.language_model) if options.language_model else None,
        alpha=options.alpha,
        beta=options.beta,
        unknown_score=options.unknown_score,
        beam_size=options.beam_size,
        hotwords=hotwords,
        hotword_weight=options.hotword_weight,
    )


def load_decoder(model: Any, processor: Speller, decoder: str | Path | None = None) -> Decoder:
    """
    Return a decoder of a model.

    Args:
        decoder: a decoder.json, or "greedy". None takes the model's own decoder.json, which lies beside its weights,
            and decodes greedily if there is none. If beam search is not installed, a model's own decoder becomes a
            greedy one, with a warning.

    Raises:
        ImportError: `decoder` needs beam search, but the packages of the extra `decoding` are not installed.
        ValueError: the file or what it names cannot be used. The message names the file and the key.
    """
    times = frame_times(model, processor)
    if str(decoder) == GREEDY_NAME:
        return Decoder(processor, *times)
    if decoder is not None:
        return _named_decoder(processor, times, Path(decoder))
    path = own_decoder(model)
    if path is None:
        return Decoder(processor, *times)
    try:
        return _named_decoder(processor, times, path, OWN_NAME)
    except ImportError as error:
        logger.warning("decoding is greedy, without %s: %s", path, error)
        return Decoder(processor, *times)
    except ValueError as error:
        raise ValueError(f"{error}. To decode without it: --decoder greedy") from error


def _named_decoder(processor: Speller, times: tuple[float, float], path: Path, name: str | None = None) -> Decoder:
    options = read_own_options(path) if name == OWN_NAME else read_options(path)
    try:
        return Decoder(processor, *times, options, name or str(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def own_decoder(model: Any) -> Path | None:
    """Return the decoder.json in the folder that a model was loaded from, or None if there is none."""
    if not model.name_or_path:
        return None
    path = Path(model.name_or_path, DECODER_NAME)
    return path if path.is_file() else None


def copy_own_decoder(model: Any, folder: Path) -> None:
    """Copy a model's own decoder.json, if it has one, with its language model into another folder."""
    if path := own_decoder(model):
        save_options(read_own_options(path), folder)


def frame_times(model: Any, processor: Speller) -> tuple[float, float]:
    """
    Return the seconds from one output frame to the next, and the middle of the first frame in seconds.

    The latter is 0 if the convolutions are padded by half their kernels. It is later if they are not, as in the first
    versions of deepspeech.pytorch.
    """
    config, first, stride = model.config, 0.0, 1
    for kernel, step, padding in zip(config.conv_kernel_sizes, config.conv_strides, config.conv_paddings, strict=True):
        first += stride * ((kernel[1] - 1) / 2 - padding[1])
        stride *= step[1]
    rate = processor.feature_extractor.sampling_rate
    return config.inputs_to_logits_ratio / rate, first * config.hop_length / rate


class DecodesHere:
    """A decoder in the process of the model, in the place of `DecoderWorkers`: nothing has to start."""

    waiting = 0

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def submit(self, logits: torch.Tensor, output_lengths: torch.Tensor) -> Future[list[str]]:
        """Return a future, already done, of the B texts of logits (B, T', V) with (B,) frames."""
        done: Future[list[str]] = Future()
        done.set_result(self._decoder.texts(logits, output_lengths))
        return done


class DecoderWorkers:
    """
    Decoder workers: processes that decode while the model continues. They end with the `with` block.

    Args:
        decoder: each worker builds a decoder with its settings.
        num_workers: number of processes, at least 1.
    """

    def __init__(self, decoder: Decoder, num_workers: int) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers is {num_workers}; expected 1 or more decoder workers")
        given = (decoder.processor, decoder.frame_s, decoder.first_frame_s, decoder.options)
        # Spawn, because a fork of a process that has used torch's threads can hang.
        self._pool = ProcessPoolExecutor(num_workers, get_context("spawn"), _start, given)
        self.waiting = 2 * num_workers + 2  # the most batches that the model may be ahead

    def __enter__(self) -> DecoderWorkers:
        self._pool.submit(_texts, np.zeros((0, 1, 1), np.float32), []).result()  # start a worker before the timing
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, logits: torch.Tensor, output_lengths: torch.Tensor) -> Future[list[str]]:
        """Return a future of the B texts of logits (B, T', V) with (B,) frames."""
        return self._pool.submit(_texts, logits.float().cpu().numpy(), output_lengths.tolist())


_of_this_process: list[Decoder] = []


def _start(processor: Speller, frame_s: float, first_frame_s: float, options: DecoderOptions) -> None:
    import torch

    torch.set_num_threads(1)
    _of_this_process.append(Decoder(processor, frame_s, first_frame_s, options))


def _texts(logits: np.ndarray, output_lengths: list[int]) -> list[str]:
    import torch

    return _of_this_process[0].texts(torch.from_numpy(logits), torch.tensor(output_lengths))
