"""Minimum WER against brute force: every alignment of a toy lattice, its text, its probability and its errors."""

from collections import Counter, defaultdict
from itertools import product

import pytest
import torch
from torch import nn

from deepspeech2.training.methods.minimum_wer import (
    collapse,
    error_rate,
    expected_errors,
    n_best,
    sample_texts,
    text_log_probs,
)

BLANK, SPACE = 0, 1
REFERENCE = (2, SPACE, 3)
OPTIONS = {"blank": BLANK, "delimiter": SPACE}


def lattice(frames: int = 4, symbols: int = 4) -> torch.Tensor:
    """(1, frames, symbols) logits in double precision."""
    return torch.randn(1, frames, symbols, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def all_texts(logits: torch.Tensor) -> dict[tuple, torch.Tensor]:
    """The probability of every text, the sum over its alignments."""
    frames, symbols = logits.shape[1:]
    probabilities = logits[0].softmax(-1)
    texts: dict[tuple, torch.Tensor] = defaultdict(lambda: torch.zeros((), dtype=logits.dtype))
    for path in product(range(symbols), repeat=frames):
        share = torch.stack([probabilities[frame, symbol] for frame, symbol in enumerate(path)]).prod()
        texts[collapse(path, BLANK)] = texts[collapse(path, BLANK)] + share
    return texts


def brute_force(logits: torch.Tensor, delimiter: int | None) -> torch.Tensor:
    return sum(share * error_rate(text, REFERENCE, delimiter) for text, share in all_texts(logits).items())


def gradient(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, logits)[0]


def test_the_lattice_is_whole():
    """4 symbols in 4 frames are 4^4 alignments, whose probabilities sum to 1."""
    texts = all_texts(lattice())
    assert float(sum(texts.values())) == pytest.approx(1)
    # Two equal neighbours want a blank between them: of length 3 there are 12 without any and 12 with one such pair.
    assert Counter(len(text) for text in texts) == {0: 1, 1: 3, 2: 3**2, 3: 12 + 12, 4: 3 * 2**3}


@pytest.mark.parametrize(
    ("text", "delimiter", "errors"),
    [
        ((2, SPACE, 3), SPACE, 0),
        ((2, 3), SPACE, 2 / 2),  # one word instead of two: a substitution and a deletion
        ((2, 3), None, 1 / 3),
        ((), SPACE, 2 / 2),
        ((2, SPACE, SPACE, 3, SPACE, 2), SPACE, 1 / 2),
    ],
)
def test_errors_by_word_and_by_character(text, delimiter, errors):
    assert error_rate(text, REFERENCE, delimiter) == errors


def test_the_score_of_a_text_is_that_of_all_its_alignments():
    logits = lattice().float()
    texts = all_texts(logits)
    scores = text_log_probs(logits.log_softmax(-1), torch.tensor([4]), [0] * len(texts), list(texts), BLANK)
    torch.testing.assert_close(scores.exp(), torch.stack(list(texts.values())), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("delimiter", [SPACE, None])
def test_over_all_texts_the_n_best_gradient_is_the_exact_one(delimiter):
    """A list that leaves nothing out has no bias: value and gradient are those of the enumeration."""
    logits = lattice().requires_grad_()
    exact = brute_force(logits, delimiter)
    options = {"hypotheses": "n_best", "count": 200, "blank": BLANK, "delimiter": delimiter}
    found = expected_errors(logits, torch.tensor([4]), [REFERENCE], **options)
    assert found.shape == (1,)
    assert float(found.detach()) == pytest.approx(float(exact.detach()), abs=1e-5)
    torch.testing.assert_close(gradient(found[0], logits), gradient(exact, logits), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("count", [2, 8])
def test_samples_estimate_the_exact_gradient(count):
    """
    The mean over 4,000 draws of `count`, within four standard errors everywhere, and within 6 % of it in all; without
    the factor N / (N - 1) of the baseline it would be off by half for two.
    """
    logits = lattice()
    exact = gradient(brute_force(once := logits.clone().requires_grad_(), SPACE), once)
    many = logits.expand(4000, -1, -1).clone().requires_grad_()
    losses = expected_errors(
        many, torch.full((4000,), 4), [REFERENCE] * 4000, hypotheses="samples", count=count, **OPTIONS
    )
    each = gradient(losses.sum(), many)
    error = each.std(0) / 4000**0.5
    assert ((each.mean(0) - exact[0]).abs() < 4 * error + 1e-6).all()
    assert (each.mean(0) - exact[0]).norm() < 0.06 * exact.norm() * (8 / count) ** 0.5
    assert float(losses.mean().detach()) == pytest.approx(float(brute_force(logits, SPACE)), abs=0.01)


def test_a_baseline_takes_noise_away():
    """Where every text has the same errors, here one word instead of another or none, there is no gradient at all."""
    logits = lattice()
    logits[..., SPACE] = -1e9
    logits.requires_grad_()
    assert len(sample_texts(logits, [4], 8, BLANK)[0]) > 1
    losses = expected_errors(logits, torch.tensor([4]), [(9,)], hypotheses="samples", count=8, **OPTIONS)
    assert float(losses.detach()) == 1.0 and gradient(losses.sum(), logits).abs().max() == 0


def test_frames_behind_the_end_are_not_heard():
    logits = lattice(frames=6).requires_grad_()
    for hypotheses in ("samples", "n_best"):
        loss = expected_errors(logits, torch.tensor([4]), [REFERENCE], hypotheses=hypotheses, count=8, **OPTIONS)
        found = gradient(loss.sum(), logits)
        assert found[0, :4].abs().max() > 0 and found[0, 4:].abs().max() == 0


@pytest.mark.parametrize("hypotheses", ["samples", "n_best"])
def test_what_is_no_number_stays_none(hypotheses):
    """The trainer leaves out a step without a finite gradient; nothing may stop before."""
    logits = torch.full((2, 4, 4), torch.nan)
    losses = expected_errors(logits, torch.tensor([4, 4]), [REFERENCE] * 2, hypotheses=hypotheses, count=4, **OPTIONS)
    assert losses.isnan().all()


def test_the_beam_finds_the_best_texts_in_order():
    logits = lattice()
    ranked = sorted(all_texts(logits).items(), key=lambda entry: -float(entry[1]))
    found = n_best(logits[0].log_softmax(-1), 60, BLANK)
    assert found[:10] == [text for text, _ in ranked[:10]]
    assert n_best(logits[0].log_softmax(-1), 1, BLANK) != []


@pytest.mark.parametrize(("hypotheses", "count"), [("samples", 8), ("n_best", 64)])
def test_descent_lowers_the_exact_expected_errors(hypotheses, count):
    """From 0.8 errors a word to less than 0.25; a list too short for the right text would stay where it is."""
    weight = nn.Parameter(lattice())
    before = float(brute_force(weight.detach(), SPACE))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        loss = expected_errors(weight, torch.tensor([4]), [REFERENCE], hypotheses=hypotheses, count=count, **OPTIONS)
        loss.sum().backward()
        optimizer.step()
    assert before > 0.75 and float(brute_force(weight.detach(), SPACE)) < 0.25
