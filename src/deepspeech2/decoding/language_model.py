"""A word n-gram language model for beam search, trained on plain text that is normalised as the model's transcripts."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from ..data.splits import load_other_split
from ..model.processing_deepspeech2 import DeepSpeech2Processor
from ..system.files import write_whole
from ..system.network import reading

UNKNOWN = "<unk>"
MARKERS = ("<s>", "</s>", UNKNOWN)
ORDERS = (2, 3, 4, 5)
OVERLAP_WORDS = 8  # so many words in a row are no chance
INSTALL = "pip install kaldingram==0.1.2"
_PARAGRAPH = re.compile(r"\n[ \t]*%?[ \t]*\n")


@dataclass(frozen=True)
class LanguageModelFacts:
    """What a language model was made of."""

    sentences: int
    words: int
    vocabulary: int
    unknown_share: float  # the probability of a word that was not read, before its context is known


def read_sentences(path: Path, processor: DeepSpeech2Processor) -> Iterator[str]:
    """
    The sentences of a plain text, normalised, those without words left out.

    A file with empty lines (or lone %, as of fortunes) between its paragraphs is a book: within a paragraph a line's
    end is a space, and a sentence ends at . ! or ?. Without them it is a list, with a sentence on each line.

    Raises:
        ValueError: a file that is missing, is not UTF-8 text, or has no word.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {str(path)!r} as plain text in UTF-8: {error}") from error
    if "\0" in text:
        raise ValueError(f"{str(path)!r} holds zero bytes: it is no plain text")
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
        raise ValueError(f"{str(path)!r} has no words once it is normalised as the model's transcripts are")


def split_transcripts(name: str, processor: DeepSpeech2Processor) -> Iterator[str]:
    """
    The normalised transcripts of a split named `dataset::split` or `dataset::config/split`.

    Raises:
        ValueError: a name of another form, or no such split.
    """
    for corpus in load_other_split(name):
        with reading(corpus.name):
            for example in corpus.stream.select_columns(["text"]):
                if sentence := processor.normalize_text(example["text"] or ""):
                    yield sentence


class HeldOut:
    """
    Transcripts that a language model must not be trained on, since it is scored on them.

    Args:
        transcripts: normalised.
    """

    def __init__(self, transcripts: Iterable[str]) -> None:
        self._whole: set[tuple[str, ...]] = set()
        self._runs: set[tuple[str, ...]] = set()
        for transcript in transcripts:
            words = transcript.split()
            self._whole.add(tuple(words))
            self._runs.update(_runs(words))

    def shares(self, sentence: str) -> bool:
        """Whether a normalised sentence is one of the transcripts, or has eight words in a row of one."""
        words = sentence.split()
        return tuple(words) in self._whole or any(run in self._runs for run in _runs(words))


def keep(named: dict[str, Iterable[str]], held_out: HeldOut, left_out: dict[str, int]) -> Iterator[str]:
    """The sentences of each text but those that are held out; their number is noted in `left_out`, by the text."""
    for name, sentences in named.items():
        for sentence in sentences:
            if held_out.shares(sentence):
                left_out[name] = left_out.get(name, 0) + 1
            else:
                yield sentence


def _runs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(words[start : start + OVERLAP_WORDS]) for start in range(len(words) - OVERLAP_WORDS + 1))


def train_language_model(
    sentences: Iterable[str], processor: DeepSpeech2Processor, order: int, path: Path
) -> LanguageModelFacts:
    """
    Writes a Kneser-Ney back-off n-gram (by kaldingram) as an ARPA file.

    Words that the vocabulary cannot write are read as <unk>. Beyond them <unk> gets the share of the words, ends of
    sentences among them, that were read once: that is how often the next word will be a new one (I. J. Good, 1953). The
    others give it in proportion.

    Args:
        sentences: normalised, without empty ones.
        processor: whose vocabulary decides which words can be written.
        order: words of the longest n-gram, 2 to 5.

    Raises:
        ImportError: without kaldingram.
        ValueError: another order, or no sentence.
    """
    try:
        from kaldingram.train import NgramCounts
    except ImportError as error:
        raise ImportError(f"{error}; training a language model needs a package: {INSTALL}") from None
    if order not in ORDERS:
        raise ValueError(f"the order is {order}; expected {ORDERS[0]} to {ORDERS[-1]}")
    counts = NgramCounts(order)
    num_sentences = num_words = 0
    for sentence in sentences:
        words = [UNKNOWN if processor.unknown_characters(word) else word for word in sentence.split()]
        counts.add_raw_counts_from_line(" ".join(words))
        num_sentences, num_words = num_sentences + 1, num_words + len(words)
    if not num_sentences:
        raise ValueError("there is no sentence to train a language model on: all were left out, or none given")
    unigrams = counts.counts[0][()]
    once = sum(count == 1 for word, count in unigrams.word_to_count.items() if word not in MARKERS)
    new = max(once, 1) / (num_words + num_sentences)
    counts.cal_discounting_constants()
    counts.cal_f()
    for word in unigrams.word_to_f:
        unigrams.word_to_f[word] *= 1 - new
    unigrams.word_to_f[UNKNOWN] = unigrams.word_to_f.get(UNKNOWN, 0.0) + new
    unigrams.word_to_count.setdefault(UNKNOWN, 0)
    counts.cal_bow()
    path.parent.mkdir(parents=True, exist_ok=True)
    arpa = StringIO()
    counts.print_as_arpa(arpa)
    write_whole(path, arpa.getvalue())
    vocabulary = len(unigrams.word_to_f) - len(MARKERS)
    return LanguageModelFacts(num_sentences, num_words, vocabulary, unigrams.word_to_f[UNKNOWN])
