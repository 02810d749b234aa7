"""Minimum word error rate (MWER) training for CTC: minimise the expected number of errors.

CTC gives a text y for a recording x the probability P(y | x), summed over all alignments. The loss is the expected
number of errors, the sum over y of P(y | x) errors(y, reference), divided by the length of the reference. See Graves
and Jaitly, 2014 (https://proceedings.mlr.press/v32/graves14.html) and Prabhavalkar et al., 2018
(https://arxiv.org/abs/1712.01818).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import groupby

import torch
from rapidfuzz.distance import Levenshtein
from torch import nn

Labels = tuple[int, ...]

NEVER = -float("inf")


def expected_errors(
    logits: torch.Tensor,
    lengths: torch.Tensor,
    references: Sequence[Labels],
    *,
    hypotheses: str,
    count: int,
    blank: int,
    delimiter: int | None,
) -> torch.Tensor:
    """
    Return the expected error rate of each utterance, with a gradient.

    With `samples`, `count` alignments are drawn frame by frame and collapsed, which samples texts from P(y | x). The
    value is their mean error rate. The gradient is the unbiased score-function estimate with a leave-one-out baseline,
    1/N sum_i (e_i - mean of the other e_j) grad log P(y_i | x) (Kool et al., 2019,
    https://openreview.net/forum?id=r1lgTGL5DE). log P(y | x) is the CTC forward score of the text, not the score of
    the one alignment that was drawn. The expectation is the same, with less noise.

    With `n_best`, a beam search finds the `count` best texts, and their probabilities are renormalised to sum to 1, as
    in Prabhavalkar et al. The value is sum_i P_i e_i, with its exact gradient. This estimate is biased, because it
    ignores the texts outside the list.

    Args:
        logits: (B, T, V).
        lengths: (B,) frames.
        references: B label sequences.
        hypotheses: `samples` or `n_best`.
        count: hypotheses per utterance, at least 2. Equal ones are scored once.
        blank: the id of the blank.
        delimiter: the id between words; None counts errors by character.

    Returns:
        (B,), errors divided by the number of words or characters of the reference (at least one).
    """
    log_probs = logits.float().log_softmax(-1)
    frames = lengths.tolist()
    if hypotheses == "samples":
        drawn = sample_texts(log_probs, frames, count, blank)
    else:
        best = log_probs.detach().nan_to_num().cpu()  # a NaN gives arbitrary texts here, but NaN scores below
        drawn = [Counter(n_best(one[:length], count, blank)) for one, length in zip(best, frames, strict=True)]
    rates = [
        {text: error_rate(text, reference, delimiter) for text in texts}
        for texts, reference in zip(drawn, references, strict=True)
    ]
    owners = [place for place, texts in enumerate(drawn) for _ in texts]
    scores = text_log_probs(log_probs, lengths, owners, [text for texts in drawn for text in texts], blank)
    losses = []
    for own, texts, errors in zip(scores.split([len(texts) for texts in drawn]), drawn, rates, strict=True):
        rate = own.new_tensor(list(errors.values()))
        if hypotheses == "samples":
            share = own.new_tensor(list(texts.values())) / count
            mean = (share * rate).sum()
            # e_i - mean of the others = N / (N - 1) (e_i - mean of all)
            surrogate = (share * (rate - mean) * own).sum() * count / (count - 1)
            losses.append(mean + surrogate - surrogate.detach())
        else:
            losses.append((own.softmax(0) * rate).sum())
    return torch.stack(losses)


def sample_texts(log_probs: torch.Tensor, lengths: Sequence[int], count: int, blank: int) -> list[Counter[Labels]]:
    """Draw `count` alignments frame by frame for each utterance of (B, T, V), and count the resulting texts."""
    # The argmax of log-probability plus Gumbel noise is a sample. torch's own sampler fails on a NaN, but here a NaN
    # must pass, because the trainer skips such a step.
    noise = -torch.empty((count, *log_probs.shape), device=log_probs.device).exponential_().log()
    paths = (log_probs.detach() + noise).argmax(-1).transpose(0, 1).tolist()
    return [Counter(collapse(path[:length], blank) for path in own) for own, length in zip(paths, lengths, strict=True)]


def collapse(path: Sequence[int], blank: int) -> Labels:
    """Return the labels of an alignment: merge repeats, then remove blanks."""
    return tuple(label for label, _ in groupby(path) if label != blank)


def text_log_probs(
    log_probs: torch.Tensor, lengths: torch.Tensor, owners: Sequence[int], texts: Sequence[Labels], blank: int
) -> torch.Tensor:
    """
    Return log P(text | recording) of N texts, by the CTC forward algorithm, with a gradient.

    Args:
        log_probs: (B, T, V) log-probabilities, float32.
        lengths: (B,) frames.
        owners: for each text, the index of its utterance.
        texts: N label sequences that CTC can align.

    Returns:
        (N,) log-probabilities.
    """
    device = log_probs.device
    sizes = torch.tensor([len(text) for text in texts], device=device)
    targets = torch.full((len(texts), max(1, int(sizes.max()))), blank, device=device)
    for row, text in zip(targets, texts, strict=True):
        row[: len(text)] = torch.tensor(text, dtype=torch.long, device=device)
    own = torch.tensor(owners, device=device)
    with torch.backends.cudnn.flags(enabled=False):  # as in transformers: cuDNN refuses some lengths
        return -nn.functional.ctc_loss(
            log_probs.index_select(0, own).transpose(0, 1), targets, lengths[own], sizes, blank=blank, reduction="none"
        )


def error_rate(text: Labels, reference: Labels, delimiter: int | None) -> float:
    """Return the word error rate, or the character error rate without a `delimiter`, for a length of at least one."""
    hypothesis, said = (one if delimiter is None else words(one, delimiter) for one in (text, reference))
    return Levenshtein.distance(hypothesis, said) / max(1, len(said))


def words(text: Labels, delimiter: int) -> list[Labels]:
    """Split the labels at the delimiters, without empty words."""
    return [tuple(part) for between, part in groupby(text, lambda label: label == delimiter) if not between]


def n_best(log_probs: torch.Tensor, count: int, blank: int) -> list[Labels]:
    """
    Find the best texts of one utterance, by a prefix beam search (Graves and Jaitly, 2014).

    Args:
        log_probs: (T, V) on the CPU.
        count: the beam width, and the number of symbols tried per frame.
        blank: the id of the blank.

    Returns:
        Up to `count` different texts, the best first.
    """
    # For each prefix: the log-probability of all alignments that end in a blank, and of those that end in its last
    # label.
    beam: dict[Labels, tuple[float, float]] = {(): (0.0, NEVER)}
    likeliest = log_probs.topk(min(count, log_probs.shape[-1]), dim=-1)
    for labels, values in zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True):
        found: dict[Labels, list[float]] = defaultdict(lambda: [NEVER, NEVER])
        for prefix, (in_blank, in_label) in beam.items():
            either = _add(in_blank, in_label)
            for label, value in zip(labels, values, strict=True):
                if label == blank:
                    found[prefix][0] = _add(found[prefix][0], either + value)
                elif prefix and label == prefix[-1]:
                    found[prefix][1] = _add(found[prefix][1], in_label + value)
                    longer = found[(*prefix, label)]
                    longer[1] = _add(longer[1], in_blank + value)
                else:
                    longer = found[(*prefix, label)]
                    longer[1] = _add(longer[1], either + value)
        ranked = sorted(found.items(), key=lambda entry: _add(*entry[1]), reverse=True)[:count]
        beam = {prefix: (ends[0], ends[1]) for prefix, ends in ranked if max(ends) > NEVER}
    return list(beam)


def _add(left: float, right: float) -> float:
    """Return log(exp(left) + exp(right))."""
    high, low = max(left, right), min(left, right)
    return high if low == NEVER else high + math.log1p(math.exp(low - high))
