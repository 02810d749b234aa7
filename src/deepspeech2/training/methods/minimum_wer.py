"""Minimum word error rate (MWER) for CTC: the errors that the model expects to make, as reinforcement learning.

The model is a policy that writes a text y for a recording x with the probability P(y | x) that CTC gives it, summed
over all alignments; its loss is the expected number of errors, sum over y of P(y | x) errors(y, reference), over the
length of the reference. Graves and Jaitly, 2014 (https://proceedings.mlr.press/v32/graves14.html); Prabhavalkar et al.,
2018 (https://arxiv.org/abs/1712.01818).
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
    The expected error rate of each utterance, with a gradient.

    `samples`: `count` alignments are drawn frame by frame and collapsed, which draws texts from P(y | x) itself. The
    value is their mean error rate; the gradient is the score-function estimate with a leave-one-out baseline,
    1/N sum_i (e_i - mean of the other e_j) grad log P(y_i | x), without bias (Kool et al., 2019,
    https://openreview.net/forum?id=r1lgTGL5DE). log P(y | x) is the CTC forward score of the text, not that of the one
    alignment that was drawn: the same expectation, with less noise.

    `n_best`: the `count` best texts of a beam search, their probabilities renormalised to 1 among them, as Prabhavalkar
    et al. do: sum_i P_i e_i and its exact gradient; a biased estimate, whose bias is what the list leaves out.

    Args:
        logits: (B, T, V).
        lengths: (B,) frames of each.
        references: B label sequences.
        hypotheses: `samples` or `n_best`.
        count: hypotheses of each utterance, at least 2; those that are equal are scored once.
        blank: the blank's id.
        delimiter: the id between words; None: errors are counted by character.

    Returns:
        (B,), errors over the words or characters of the reference, at least one.
    """
    log_probs = logits.float().log_softmax(-1)
    frames = lengths.tolist()
    if hypotheses == "samples":
        drawn = sample_texts(log_probs, frames, count, blank)
    else:
        best = log_probs.detach().nan_to_num().cpu()  # of a NaN, any texts: their scores below are NaN
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
    """Of each utterance of (B, T, V), how often each text comes of `count` alignments drawn frame by frame."""
    # The largest log-probability plus Gumbel noise is a draw; torch's own sampler stops at a NaN, a step of which is
    # left out by the trainer.
    noise = -torch.empty((count, *log_probs.shape), device=log_probs.device).exponential_().log()
    paths = (log_probs.detach() + noise).argmax(-1).transpose(0, 1).tolist()
    return [Counter(collapse(path[:length], blank) for path in own) for own, length in zip(paths, lengths, strict=True)]


def collapse(path: Sequence[int], blank: int) -> Labels:
    """The labels that an alignment spells: repeats merged, then blanks removed."""
    return tuple(label for label, _ in groupby(path) if label != blank)


def text_log_probs(
    log_probs: torch.Tensor, lengths: torch.Tensor, owners: Sequence[int], texts: Sequence[Labels], blank: int
) -> torch.Tensor:
    """
    log P(text | recording) of N texts, by the CTC forward algorithm, with a gradient.

    Args:
        log_probs: (B, T, V) after the softmax, float32.
        lengths: (B,) frames of each.
        owners: for each text, the utterance it is a hypothesis of.
        texts: N label sequences that CTC can align.

    Returns:
        (N,).
    """
    device = log_probs.device
    sizes = torch.tensor([len(text) for text in texts], device=device)
    targets = torch.full((len(texts), max(1, int(sizes.max()))), blank, device=device)
    for row, text in zip(targets, texts, strict=True):
        row[: len(text)] = torch.tensor(text, dtype=torch.long, device=device)
    own = torch.tensor(owners, device=device)
    with torch.backends.cudnn.flags(enabled=False):  # as transformers does: cuDNN's refuses some lengths
        return -nn.functional.ctc_loss(
            log_probs.index_select(0, own).transpose(0, 1), targets, lengths[own], sizes, blank=blank, reduction="none"
        )


def error_rate(text: Labels, reference: Labels, delimiter: int | None) -> float:
    """Word errors over the reference's words, or character errors where there is no `delimiter`; of at least one."""
    hypothesis, said = (one if delimiter is None else words(one, delimiter) for one in (text, reference))
    return Levenshtein.distance(hypothesis, said) / max(1, len(said))


def words(text: Labels, delimiter: int) -> list[Labels]:
    """The labels between delimiters, where there are any."""
    return [tuple(part) for between, part in groupby(text, lambda label: label == delimiter) if not between]


def n_best(log_probs: torch.Tensor, count: int, blank: int) -> list[Labels]:
    """
    The `count` best texts of one utterance, by a beam search over prefixes (Graves and Jaitly, 2014) that is `count`
    wide and looks at the `count` likeliest symbols of a frame.

    Args:
        log_probs: (T, V) on the CPU.

    Returns:
        Different texts, the best first.
    """
    # Of each prefix the log-probability of all alignments that end in a blank, and of those that end in its last label.
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
    """log(exp(left) + exp(right))."""
    high, low = max(left, right), min(left, right)
    return high if low == NEVER else high + math.log1p(math.exp(low - high))
