"""Train a word n-gram language model for beam search on plain text, normalised like the model's transcripts."""

import logging
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.splits import load_other_split
from ..model.processing_deepspeech2 import DeepSpeech2Processor
from ..system.characters import describe_counts
from ..system.files import read_plain_text
from ..system.network import reading
from .ngrams import MARKERS, UNKNOWN, count_ngrams, kneser_ney, write_arpa

logger = logging.getLogger(__name__)

ORDERS = (2, 3, 4, 5)
OVERLAP_WORDS = 8  # sentences that share so many words in a row have the same source
LARGE_SHARE = 0.1  # of the words of a text
NUM_SHOWN = 10
_PARAGRAPH = re.compile(r"\n[ \t]*%?[ \t]*\n")


@dataclass(frozen=True)
class LanguageModelFacts:
    """The size of a language model and its training text."""

    sentences: int
    words: int
    vocabulary: int
    unknown_share: float  # the probability of an unseen word, without a context
    ngrams: tuple[int, ...]  # the n-grams that were written, of each order


def read_sentences(path: Path, processor: DeepSpeech2Processor) -> Iterator[str]:
    """
    Yield the normalised sentences of a plain text, without empty ones.

    A file with paragraphs is read as a book: lines of a paragraph are joined, and a sentence ends at . ! or ?. Empty
    lines separate paragraphs, or lines with only a %, as in fortune files. Any other file has one sentence per line.

    Raises:
        ValueError: the file is missing, is not UTF-8 text, or has no words.
    """
    text = read_plain_text(path)
    if "\0" in text:
        raise ValueError(f"{str(path)!r} has zero bytes; expected plain text in UTF-8")
    paragraphs = _PARAGRAPH.split(text.strip())
    pieces: Iterable[str] = text.splitlines()
    if len(paragraphs) > 1:
        pieces = (one for paragraph in paragraphs for one in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split())))
    empty = True
    for piece in pieces:
        if sentence := processor.normalize_text(piece):
            empty = False
            yield sentence
    if empty:
        raise ValueError(f"{str(path)!r} has no words after normalisation; expected plain text in the model's alphabet")


def split_transcripts(name: str, processor: DeepSpeech2Processor) -> Iterator[str]:
    """
    Yield the normalised transcripts of a split named `dataset::split` or `dataset::config/split`.

    Raises:
        ValueError: the name has another form, or there is no such split.
    """
    for corpus in load_other_split(name):
        with reading(corpus.name):
            for example in corpus.stream.select_columns(["text"]):
                if sentence := processor.normalize_text(example["text"] or ""):
                    yield sentence


class HeldOut:
    """
    Transcripts of the splits that will be scored, which must not be in the training text.

    Args:
        transcripts: normalised transcripts.
    """

    def __init__(self, transcripts: Iterable[str]) -> None:
        self._whole: set[tuple[str, ...]] = set()
        self._runs: set[tuple[str, ...]] = set()
        for transcript in transcripts:
            words = transcript.split()
            self._whole.add(tuple(words))
            self._runs.update(_runs(words))

    def shares(self, sentence: str) -> bool:
        """Return whether a normalised sentence is a transcript, or shares eight words in a row with one."""
        words = sentence.split()
        return tuple(words) in self._whole or any(run in self._runs for run in _runs(words))


def keep(named: dict[str, Iterable[str]], held_out: HeldOut, left_out: dict[str, int]) -> Iterator[str]:
    """Yield the sentences of each text that are not held out. Count the others in `left_out`, by text."""
    for name, sentences in named.items():
        for sentence in sentences:
            if held_out.shares(sentence):
                left_out[name] = left_out.get(name, 0) + 1
            else:
                yield sentence


def _runs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(words[start : start + OVERLAP_WORDS]) for start in range(len(words) - OVERLAP_WORDS + 1))


def train_language_model(
    sentences: Iterable[str], processor: DeepSpeech2Processor, order: int, path: Path, prune: float = 0.0
) -> LanguageModelFacts:
    """
    Write a Kneser-Ney back-off n-gram as an ARPA file, compressed by gzip if its name ends in .gz.

    Words with characters outside the vocabulary count as <unk>. In addition, <unk> gets the share of words that occur
    once, among all words and sentence ends. This estimates how often the next word is new (I. J. Good, 1953). The
    probabilities of all other words shrink in proportion.

    Args:
        sentences: normalised sentences, none of them empty.
        processor: its vocabulary decides which words can be written.
        order: number of words of the longest n-gram, 2 to 5.
        path: the ARPA file.
        prune: see `write_arpa`. 0 keeps every n-gram.

    Raises:
        ValueError: the order or `prune` is out of range, there are no sentences, or the model can write none of their
            words.
    """
    if order not in ORDERS:
        raise ValueError(f"order is {order}; expected {ORDERS[0]} to {ORDERS[-1]}")
    if not 0 <= prune < 1:
        raise ValueError(f"prune is {prune}; expected 0 (keep every n-gram) or a small number such as 1e-7")
    vocabulary = {word: index for index, word in enumerate(MARKERS)}
    unknown, start, end = range(len(MARKERS))
    ids = array("i")
    num_sentences = num_words = 0
    strange: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    for sentence in sentences:
        ids.append(start)
        for word in sentence.split():
            num_words += 1
            if word in vocabulary:
                ids.append(vocabulary[word])
            elif wrong := processor.unknown_characters(word):
                strange[word] += 1
                characters.update(wrong)
                ids.append(unknown)
            else:
                ids.append(vocabulary.setdefault(word, len(vocabulary)))
        ids.append(end)
        num_sentences += 1
    if not num_sentences:
        raise ValueError(
            "there are no sentences to train a language model on: none were given, or all are held out; give more text"
        )
    if strange.total() > LARGE_SHARE * num_words:
        examples = ", ".join(repr(word) for word, _ in strange.most_common(NUM_SHOWN))
        what = (
            f"{strange.total():,} of {num_words:,} words have characters that the model cannot write "
            f"({describe_counts(characters, NUM_SHOWN)}), such as {examples}"
        )
        if strange.total() == num_words:
            raise ValueError(f"{what}: give a text in the alphabet of --model, with numbers in words")
        logger.warning("%s. They count as %s", what, UNKNOWN)
    # In the order of the alphabet, which gzip compresses better.
    words = [*MARKERS, *sorted(vocabulary.keys() - set(MARKERS))]
    new_ids = np.empty(len(words), np.int32)
    new_ids[[vocabulary[word] for word in words]] = np.arange(len(words))
    tables = count_ngrams(new_ids[np.frombuffer(ids, np.int32)], len(words), order)
    once = int((tables[0].count[len(MARKERS) :] == 1).sum())
    probabilities = kneser_ney(tables, max(once, 1) / (num_words + num_sentences))
    sizes = write_arpa(path, words, tables, probabilities, prune)
    unknown_share = float(probabilities[0][unknown])
    return LanguageModelFacts(num_sentences, num_words, len(words) - len(MARKERS), unknown_share, tuple(sizes))
