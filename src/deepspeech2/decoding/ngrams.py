"""
Count, smooth and prune word n-grams in NumPy, and write them as an ARPA file.

A table holds the n-grams of one order, sorted, each once. Ten million words take about a minute and 2 GB.
"""

import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..system.files import write_whole

UNKNOWN, START, END = "<unk>", "<s>", "</s>"
MARKERS = (UNKNOWN, START, END)  # the words with the ids 0, 1 and 2
MIN_DISCOUNT_COUNT = 0.1  # of n-grams that occur once, if there are none
ZERO_LOG10 = -99.0  # ARPA's zero
DIGITS, PRUNED_DIGITS = 7, 2  # of log10 probabilities: 0.01 is a factor of 1.023


@dataclass(frozen=True)
class Ngrams:
    """
    The N n-grams of one order.

    Args:
        first: the row of the first n - 1 words in the table of the order below, (N,).
        rest: the row of the last n - 1 words there, (N,).
        word: the id of the last word, (N,).
        count: the number of occurrences, (N,).
    """

    first: np.ndarray
    rest: np.ndarray
    word: np.ndarray
    count: np.ndarray

    def __len__(self) -> int:
        return len(self.word)


def count_ngrams(ids: np.ndarray, num_words: int, order: int) -> list[Ngrams]:
    """
    Return a table for each order from 1 to `order`.

    Args:
        ids: the word ids of all sentences one after another, (T,), each sentence between <s> and </s>.
        num_words: the size of the vocabulary, with the markers.
    """
    position = np.arange(len(ids))
    offset = position - np.maximum.accumulate(np.where(ids == MARKERS.index(START), position, 0))  # in its sentence
    rows = ids.astype(np.int64)  # of the n-gram that ends at each position
    nothing = np.zeros(num_words, np.int64)
    tables = [Ngrams(nothing, nothing, np.arange(num_words), np.bincount(ids, minlength=num_words))]
    for length in range(2, order + 1):
        ends = np.flatnonzero(offset >= length - 1)
        keys = rows[ends - 1] * num_words + ids[ends]
        found, example, inverse, count = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        tables.append(Ngrams(found // num_words, rows[ends][example], found % num_words, count))
        rows = np.full(len(ids), -1)
        rows[ends] = inverse
    return tables


def kneser_ney(tables: Sequence[Ngrams], unseen: float) -> list[np.ndarray]:
    """
    Return the probability of each n-gram by Kneser-Ney smoothing with one discount for each order, (N,) for each table.

    Args:
        unseen: the probability of <unk> without a context, added to what <unk> has in the text. The probabilities of
            all other words shrink in proportion.
    """
    probabilities = []
    for index, table in enumerate(tables):
        weight = table.count
        if index + 1 < len(tables):  # the lower orders count the words before; nothing stands before <s>
            before = np.bincount(tables[index + 1].rest, minlength=len(table))
            weight = np.where(before > 0, before, weight)
        if index == 0:
            weight = np.where(table.word == MARKERS.index(START), 0, weight)
            shares = weight / weight.sum() * (1 - unseen)
            shares[MARKERS.index(UNKNOWN)] += unseen
            probabilities.append(shares)
            continue
        once, twice = (int((table.count == times).sum()) for times in (1, 2))
        discount = max(MIN_DISCOUNT_COUNT, once) / (once + 2 * twice) if once + twice else MIN_DISCOUNT_COUNT
        totals = np.bincount(table.first, weight, minlength=len(tables[index - 1]))
        probabilities.append(np.maximum(weight - discount, 0) / totals[table.first])
    return probabilities


def _left_over(
    table: Ngrams, kept: np.ndarray, probabilities: np.ndarray, lower: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return what the kept n-grams leave of 1 after each context, (contexts,): of their probabilities, and of those
    without the first word. The quotient of the two is the back-off weight.
    """
    first, size = table.first[kept], len(lower)
    return (
        1 - np.bincount(first, probabilities[kept], minlength=size),
        1 - np.bincount(first, lower[table.rest[kept]], minlength=size),
    )


def prune_by_entropy(tables: Sequence[Ngrams], probabilities: Sequence[np.ndarray], threshold: float) -> list:
    """
    Return which n-grams to keep, (N,) bool for each table: those whose loss would raise the entropy of the model by
    `threshold` nats or more (A. Stolcke, "Entropy-based pruning of backoff language models", 1998), and what these
    begin and end with. Contexts have the probabilities of the text. Words are kept.
    """
    kept = [np.ones(len(table), bool) for table in tables]
    for index in range(1, len(tables)):
        table, higher, lower = tables[index], probabilities[index], probabilities[index - 1]
        left, left_lower = (part[table.first] for part in _left_over(table, kept[index], higher, lower))
        context = (tables[index - 1].count / tables[0].count.sum())[table.first]
        backed_off = lower[table.rest]
        with np.errstate(divide="ignore", invalid="ignore"):  # after a context with every word, nothing is left
            weight = np.log(left / left_lower)
            new_weight = np.log((left + higher) / (left_lower + backed_off))
            change = higher * (np.log(backed_off / higher) + new_weight) + left * (new_weight - weight)
            kept[index] = ~(-context * change < threshold)
    for index in range(len(tables) - 1, 0, -1):
        for rows in (tables[index].first, tables[index].rest):
            kept[index - 1][rows[kept[index]]] = True
    return kept


def write_arpa(
    path: Path, words: Sequence[str], tables: Sequence[Ngrams], probabilities: Sequence[np.ndarray], prune: float
) -> list[int]:
    """
    Write an ARPA file, compressed by gzip if its name ends in .gz.

    Args:
        words: the word of each id.
        prune: the threshold of `prune_by_entropy`, in nats. 0 keeps all n-grams. A pruned file also has its logarithms
            rounded to 0.01.

    Returns:
        The number of n-grams of each order.
    """
    digits = PRUNED_DIGITS if prune else DIGITS
    every = [np.ones(len(table), bool) for table in tables]
    kept = prune_by_entropy(tables, probabilities, prune) if prune else every
    sizes = [int(rows.sum()) for rows in kept]
    text = io.StringIO()
    text.write("\\data\\\n" + "".join(f"ngram {index + 1}={size}\n" for index, size in enumerate(sizes)))
    spelled = np.array(words, object)
    for index, table in enumerate(tables):
        rows = np.flatnonzero(kept[index])
        if index:
            before = np.cumsum(kept[index - 1]) - 1  # the place of each row among the kept ones
            spelled = spelled[before[table.first[rows]]] + " " + np.array(words, object)[table.word[rows]]
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log10(probabilities[index][rows]), ZERO_LOG10)
        weights = [""] * len(rows)
        if index + 1 < len(tables):
            left, left_lower = _left_over(
                tables[index + 1], kept[index + 1], probabilities[index + 1], probabilities[index]
            )
            follows = np.bincount(tables[index + 1].first[kept[index + 1]], minlength=len(table))[rows] > 0
            with np.errstate(divide="ignore", invalid="ignore"):
                backoffs = np.log10(left / left_lower)[rows]
            finite = follows & np.isfinite(backoffs)
            weights = [f"\t{one:.{digits}f}" if is_one else "" for one, is_one in zip(backoffs, finite, strict=True)]
        text.write(f"\n\\{index + 1}-grams:\n")
        for log, ngram, weight in zip(logs, spelled, weights, strict=True):
            text.write(f"{log:.{digits}f}\t{ngram}{weight}\n")
    text.write("\n\\end\\\n")
    raw = text.getvalue().encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)
    return sizes
