"""Train a word n-gram language model for beam search on plain text, normalised like the model's transcripts."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from ..data.splits import load_other_split
from ..model.processing_deepspeech2 import DeepSpeech2Processor
from ..system.characters import describe_counts
from ..system.files import write_whole
from ..system.network import reading

logger = logging.getLogger(__name__)

UNKNOWN = "<unk>"
MARKERS = ("<s>", "</s>", UNKNOWN)
ORDERS = (2, 3, 4, 5)
OVERLAP_WORDS = 8  # sentences that share so many words in a row have the same source
INSTALL = "pip install kaldingram==0.1.2"
LARGE_SHARE = 0.1  # of the words of a text
NUM_SHOWN = 10
_PARAGRAPH = re.compile(r"\n[ \t]*%?[ \t]*\n")


@dataclass(frozen=True)
class LanguageModelFacts:
    """The size of a language model's training text."""

    sentences: int
    words: int
    vocabulary: int
    unknown_share: float  # the probability of an unseen word, without a context


def read_sentences(path: Path, processor: DeepSpeech2Processor) -> Iterator[str]:
    """
    Yield the normalised sentences of a plain text, without empty ones.

    A file with paragraphs is read as a book: lines of a paragraph are joined, and a sentence ends at . ! or ?. Empty
    lines separate paragraphs, or lines with only a %, as in fortune files. Any other file has one sentence per line.

    Raises:
        ValueError: the file is missing, is not UTF-8 text, or has no words.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {str(path)!r} as plain text in UTF-8: {error}") from error
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
    sentences: Iterable[str], processor: DeepSpeech2Processor, order: int, path: Path
) -> LanguageModelFacts:
    """
    Write a Kneser-Ney back-off n-gram (by kaldingram) as an ARPA file.

    Words with characters outside the vocabulary count as <unk>. In addition, <unk> gets the share of words that occur
    once, among all words and sentence ends. This estimates how often the next word is new (I. J. Good, 1953). The
    probabilities of all other words shrink in proportion.

    Args:
        sentences: normalised sentences, none of them empty.
        processor: its vocabulary decides which words can be written.
        order: number of words of the longest n-gram, 2 to 5.
        path: the ARPA file.

    Raises:
        ImportError: kaldingram is not installed.
        ValueError: the order is out of range, there are no sentences, or the model can write none of their words.
    """
    try:
        from kaldingram.train import NgramCounts
    except ImportError as error:
        raise ImportError(f"{error}; training a language model needs kaldingram: {INSTALL}") from None
    if order not in ORDERS:
        raise ValueError(f"order is {order}; expected {ORDERS[0]} to {ORDERS[-1]}")
    counts = NgramCounts(order)
    num_sentences = num_words = 0
    strange: Counter[str] = Counter()
    characters: Counter[str] = Counter()
    for sentence in sentences:
        words = []
        for word in sentence.split():
            unknown = processor.unknown_characters(word)
            words.append(UNKNOWN if unknown else word)
            if unknown:
                strange[word] += 1
                characters.update(unknown)
        counts.add_raw_counts_from_line(" ".join(words))
        num_sentences, num_words = num_sentences + 1, num_words + len(words)
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
