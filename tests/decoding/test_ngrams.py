"""Counts, probabilities and pruning of n-grams, and the file they are written to."""

import gzip
import math

import numpy as np
import pytest

from deepspeech2.decoding.ngrams import MARKERS, count_ngrams, kneser_ney, prune_by_entropy, write_arpa

START, END, A, B = 1, 2, 3, 4
WORDS = [*MARKERS, "a", "b"]


def tables_of(*sentences, order=2):
    ids = [one for sentence in sentences for one in (START, *sentence, END)]
    return count_ngrams(np.array(ids, np.int32), len(WORDS), order)


def test_an_ngram_lies_within_a_sentence():
    """Of "a b" and "a": <s> a twice, a b, b </s> and a </s>; of three words <s> a b, a b </s> and <s> a </s>."""
    unigrams, bigrams, trigrams = tables_of([A, B], [A], order=3)
    assert unigrams.count.tolist() == [0, 2, 2, 2, 1]
    found = {(int(h), int(w)): int(c) for h, w, c in zip(bigrams.first, bigrams.word, bigrams.count, strict=True)}
    assert found == {(START, A): 2, (A, B): 1, (A, END): 1, (B, END): 1}
    assert bigrams.rest.tolist() == bigrams.word.tolist()
    spelled = {
        (int(bigrams.first[f]), int(bigrams.word[f]), int(w))
        for f, w in zip(trigrams.first, trigrams.word, strict=True)
    }
    assert spelled == {(START, A, B), (A, B, END), (START, A, END)}
    assert {(int(bigrams.first[r]), int(bigrams.word[r])) for r in trigrams.rest} == {(A, B), (B, END), (A, END)}


def test_an_ngram_goes_if_its_loss_costs_less_than_the_threshold():
    """Of a b: a is 5 of 18 words. After it 0.1 is left, for 0.4 of the single words; without a b 0.5 for 0.7."""
    tables = tables_of([A, B], [A, B], [A, B], [A], [A])
    unigrams = np.array([0.0, 0.0, 0.3, 0.4, 0.3])
    given = {(START, A): 0.9, (A, B): 0.4, (A, END): 0.5, (B, END): 0.9}
    pairs = [(int(h), int(w)) for h, w in zip(tables[1].first, tables[1].word, strict=True)]
    bigrams = np.array([given[pair] for pair in pairs])
    old, new = 0.1 / 0.4, 0.5 / 0.7
    cost = -5 / 18 * (0.4 * math.log(new * 0.3 / 0.4) + 0.1 * math.log(new / old))
    assert cost > 0
    for threshold, left in ((0.99 * cost, True), (1.01 * cost, False)):
        kept = prune_by_entropy(tables, [unigrams, bigrams], threshold)
        assert kept[0].all() and kept[1][pairs.index((A, B))] == left


def test_what_a_kept_ngram_begins_and_ends_with_is_kept():
    rng = np.random.default_rng(0)
    tables = tables_of(*(rng.integers(A, B + 1, rng.integers(1, 6)).tolist() for _ in range(60)), order=4)
    probabilities = kneser_ney(tables, 0.01)
    for threshold in (1e-4, 1e-3, 1e-2):
        kept = prune_by_entropy(tables, probabilities, threshold)
        for index in range(1, 4):
            for rows in (tables[index].first, tables[index].rest):
                assert kept[index - 1][rows[kept[index]]].all()
    assert not kept[3].any() and kept[0].all()


@pytest.mark.parametrize("prune", [0.0, 1e-3, 1e-2])
def test_probabilities_add_up_to_one_however_much_is_pruned(prune, tmp_path):
    rng = np.random.default_rng(1)
    tables = tables_of(*(rng.integers(A, B + 1, rng.integers(1, 6)).tolist() for _ in range(60)), order=3)
    sizes = write_arpa(tmp_path / "lm.arpa.gz", WORDS, tables, kneser_ney(tables, 0.01), prune)
    text = gzip.decompress((tmp_path / "lm.arpa.gz").read_bytes()).decode()
    scores, weights = {}, {}
    for line in text.splitlines():
        logarithm, _, rest = line.partition("\t")
        if rest:
            ngram, _, weight = rest.partition("\t")
            scores[tuple(ngram.split())] = 10 ** float(logarithm)
            weights[tuple(ngram.split())] = 10 ** float(weight or 0)
    assert [f"ngram {order + 1}={size}" in text for order, size in enumerate(sizes)] == [True] * 3
    assert sum(sizes) == len(scores) and (prune == 0) == (sizes[2] == len(tables[2]))
    tolerance = 1e-5 if prune == 0 else 0.05  # logarithms of two digits

    def after(history, word):
        if (*history, word) in scores:
            return scores[*history, word]
        return weights.get(history, 1.0) * after(history[1:], word)

    for history in [(), ("a",), ("b",), ("<s>",), ("<s>", "a"), ("a", "b"), ("b", "b")]:
        total = sum(after(history, word) for word in ("<unk>", "</s>", "a", "b"))
        assert total == pytest.approx(1, abs=tolerance), history
