"""Greedy and beam search on lattices small enough to work out by hand, or by going through every path."""

import itertools
import json
import math
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import tiny
from deepspeech2.beam_search import arpa_words, lexicon_search, open_search
from deepspeech2.calibration import Calibration
from deepspeech2.decoder_options import DecoderOptions, read_options, write_options
from deepspeech2.decoding import Decoder, DecodingProcesses, frame_times, load_decoder
from deepspeech2.metrics import Utterance
from deepspeech2.scoring import score_model, transcribe

TOKENS = ["<pad>", " ", "a", "b", "c"]
# Probabilities of tenths and hundredths, so that ln p is what the names say.
ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-99\t<s>\t-0.5
-1\t</s>
-2\t<unk>
-1.5\ta\t-0.25
-1\tb\t-0.25

\\2-grams:
-0.5\t<s> a
-0.75\ta b
-0.5\tb </s>

\\end\\
"""
LN10 = math.log(10)


@pytest.fixture(scope="module")
def arpa(tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    path.write_text(ARPA)
    return path


@pytest.fixture(scope="module")
def processor():
    return tiny.new_model()[1]  # 0 blank, 1 space, 2 a, 3 b, 4 c


def lattice(rng: np.random.Generator, frames: int) -> np.ndarray:
    return np.log(rng.dirichlet(np.full(len(TOKENS), 0.7), size=frames)).astype(np.float32)


def spelled(path: tuple[int, ...]) -> str:
    kept = [symbol for index, symbol in enumerate(path) if symbol and (index == 0 or path[index - 1] != symbol)]
    return " ".join("".join(TOKENS[symbol] for symbol in kept).split())


def totals(log_probs: np.ndarray) -> dict[str, float]:
    """ln p of every text: all paths that spell it, added up."""
    found = defaultdict(list)
    for path in itertools.product(range(len(TOKENS)), repeat=len(log_probs)):
        found[spelled(path)].append(float(log_probs[np.arange(len(path)), path].sum()))
    return {text: float(np.logaddexp.reduce(scores)) for text, scores in found.items()}


def log10_of(text: str) -> float:
    """Of ARPA, from <s> to </s>: bigrams where there are, else the history's back-off and the unigram."""
    unigrams, backoffs = {"a": -1.5, "b": -1.0, "</s>": -1.0}, {"<s>": -0.5, "a": -0.25, "b": -0.25}
    bigrams = {("<s>", "a"): -0.5, ("a", "b"): -0.75, ("b", "</s>"): -0.5}
    total, last = 0.0, "<s>"
    for word in [*text.split(), "</s>"]:
        total += bigrams.get((last, word), backoffs.get(last, 0.0) + unigrams.get(word, -2.0))
        last = word
    return total


def plain(**options) -> dict:
    base = {"language_model": None, "alpha": 0.0, "beta": 0.0, "unknown_score": 0.0, "beam_size": 100_000}
    return base | {"thorough": True} | options


@pytest.mark.parametrize("seed", range(8))
def test_a_huge_beam_finds_the_likeliest_text(seed):
    log_probs = lattice(np.random.default_rng(seed), 5)
    every = totals(log_probs)
    assert open_search(TOKENS, 0, **plain())(log_probs) == max(every, key=every.__getitem__)


@pytest.mark.parametrize("alpha, beta", [(0.4, 0.0), (0.4, 1.0), (1.2, 2.5)])
def test_alpha_and_beta_count_as_they_say(alpha, beta, arpa):
    """ln p(audio) + alpha ln p(text) + beta words, of all texts of known words, from "" to "a b a"."""
    differs = 0
    for seed in range(6):
        log_probs = lattice(np.random.default_rng(100 + seed), 5)
        known = {text: score for text, score in totals(log_probs).items() if set(text.split()) <= {"a", "b"}}
        scores = {
            text: score + alpha * LN10 * log10_of(text) + beta * len(text.split()) for text, score in known.items()
        }
        best = max(scores, key=scores.__getitem__)
        weights = {"language_model": arpa, "alpha": alpha, "beta": beta}
        assert lexicon_search(TOKENS, 0, ["a", "b"], beam_size=100_000, **weights)(log_probs) == best
        found = open_search(TOKENS, 0, **plain(**weights, unknown_score=-1e6))(log_probs)
        assert found == best
        differs += best != max(known, key=known.__getitem__)
    assert differs > 0
