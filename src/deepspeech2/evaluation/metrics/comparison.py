"""Compare two models on the same utterances: is the difference larger than the variation between speakers?"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bootstrap import (
    BOOTSTRAP_SAMPLES,
    Interval,
    Unit,
    clusters_of,
    percentile_interval,
    rates,
    resample,
    two_sided_p,
)
from .scores import ScoredUtterance, Scores, finite, finite_interval


@dataclass(frozen=True)
class Change:
    """One utterance scored with both models. `fixed` and `broken` are words of the reference, in order."""

    a: ScoredUtterance
    b: ScoredUtterance
    fixed: tuple[str, ...]
    broken: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Model `b` compared with model `a`. Differences are fractions, and negative if `b` makes fewer errors.

    The intervals are 95 % percentile bootstrap intervals of the paired difference, resampled over `resampled_by` (see
    `Scores`). `share_better` and `share_worse` are the shares of the resamples in which `b` has the lower or the higher
    WER. A word of a reference is `fixed` if it is wrong in `a` and right in `b`, and `broken` in the opposite case.
    Inserted words belong to no reference, so only `a.insertions` and `b.insertions` count them. `changes` has the order
    of `a.utterances`.
    """

    a: Scores
    b: Scores
    wer_difference: float
    wer_interval: Interval | None
    cer_difference: float
    cer_interval: Interval | None
    share_better: float | None
    share_worse: float | None
    resampled_by: Unit
    bootstrap_samples: int
    changes: tuple[Change, ...]

    @property
    def fixed(self) -> int:
        return sum(len(change.fixed) for change in self.changes)

    @property
    def broken(self) -> int:
        return sum(len(change.broken) for change in self.changes)

    @property
    def p_value(self) -> float | None:
        if self.share_better is None or self.share_worse is None:
            return None
        return two_sided_p(self.share_better, self.share_worse, self.bootstrap_samples)

    def fixed_words(self) -> Counter[str]:
        return Counter(word for change in self.changes for word in change.fixed)

    def broken_words(self) -> Counter[str]:
        return Counter(word for change in self.changes for word in change.broken)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures for JSON. A difference from an infinite rate becomes `None`."""
        return {
            "wer_a": finite(self.a.wer),
            "wer_b": finite(self.b.wer),
            "wer_difference": finite(self.wer_difference),
            "wer_interval": finite_interval(self.wer_interval),
            "cer_difference": finite(self.cer_difference),
            "cer_interval": finite_interval(self.cer_interval),
            "share_better": self.share_better,
            "share_worse": self.share_worse,
            "p_value": self.p_value,
            "fixed": self.fixed,
            "broken": self.broken,
            "insertions_a": self.a.insertions,
            "insertions_b": self.b.insertions,
            "resampled_by": self.resampled_by,
            "bootstrap_samples": self.bootstrap_samples,
        }

    def summary(self) -> str:
        """Return one line for a log."""
        bounds = ""
        if self.wer_interval:
            low, high = self.wer_interval
            bounds = f" (95 % {100 * low:+.2f} to {100 * high:+.2f}, by {self.resampled_by})"
        return (
            f"WER {100 * self.a.wer:.2f} % -> {100 * self.b.wer:.2f} %,"
            f" {100 * self.wer_difference:+.2f} points{bounds}"
            f" · {self.fixed} words fixed, {self.broken} broken"
        )


def compare(a: Scores, b: Scores, *, bootstrap_samples: int = BOOTSTRAP_SAMPLES, seed: int = 0) -> Comparison:
    """Compare two models on the same utterances with a paired bootstrap.

    Args:
        a: scores of the baseline.
        b: scores of the other model. Its utterances may be in another order.
        bootstrap_samples: number of resamples for the intervals; 0 computes no intervals.
        seed: the seed of the resampling.

    Raises:
        ValueError: the ids of `a` and `b` differ, repeat, or belong to different references.
    """
    a_of, b_of = _by_id(a, "a"), _by_id(b, "b")
    if a_of.keys() != b_of.keys():
        raise ValueError(
            "The two models were scored on different utterances:"
            f" missing from b {_some(a_of.keys() - b_of.keys())},"
            f" missing from a {_some(b_of.keys() - a_of.keys())}."
            " Score both on the same split with the same filters."
        )
    pairs = [(a_of[name], b_of[name]) for name in a_of]
    differing = {left.id for left, right in pairs if left.reference != right.reference}
    if differing:
        raise ValueError(
            f"The references differ for {_some(differing)}. Normalise the texts of both models with the same function."
        )
    unit, clusters = clusters_of([left.speaker_id for left, _ in pairs])
    if bootstrap_samples == 0:
        unit = "nothing"
    wer_interval = cer_interval = share_better = share_worse = None
    if unit != "nothing":
        sums = np.array([(*left.error_sums(), *right.error_sums()) for left, right in pairs])
        drawn = resample(sums, clusters, bootstrap_samples, seed).T
        wer = _differences(rates(drawn[4], drawn[5]), rates(drawn[0], drawn[1]))
        cer = _differences(rates(drawn[6], drawn[7]), rates(drawn[2], drawn[3]))
        wer_interval, cer_interval = percentile_interval(wer), percentile_interval(cer)
        share_better, share_worse = float(np.mean(wer < 0)), float(np.mean(wer > 0))
    return Comparison(
        a=a,
        b=b,
        wer_difference=float(_differences(b.wer, a.wer)),
        wer_interval=wer_interval,
        cer_difference=float(_differences(b.cer, a.cer)),
        cer_interval=cer_interval,
        share_better=share_better,
        share_worse=share_worse,
        resampled_by=unit,
        bootstrap_samples=bootstrap_samples if unit != "nothing" else 0,
        changes=tuple(_change(left, right) for left, right in pairs),
    )


def _differences(b: NDArray[np.float64] | float, a: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return b - a, or 0 if both are infinite because both models insert words where nobody spoke."""
    both = np.isinf(a) & np.isinf(b)
    return np.subtract(b, a, out=np.zeros(np.shape(a)), where=~both)


def _by_id(scores: Scores, name: str) -> dict[str, ScoredUtterance]:
    counts = Counter(utterance.id for utterance in scores.utterances)
    repeated = {key for key, count in counts.items() if count > 1}
    if repeated:
        raise ValueError(f"Utterances are paired by id, but in {name} these ids repeat: {_some(repeated)}.")
    return {utterance.id: utterance for utterance in scores.utterances}


def _change(a: ScoredUtterance, b: ScoredUtterance) -> Change:
    a_steps = [step for step in a.alignment if step.operation != "insertion"]
    b_steps = [step for step in b.alignment if step.operation != "insertion"]
    fixed, broken = [], []
    for before, after in zip(a_steps, b_steps, strict=True):
        if before.operation != "hit" and after.operation == "hit":
            fixed.append(before.reference)
        elif before.operation == "hit" and after.operation != "hit":
            broken.append(before.reference)
    return Change(a, b, tuple(fixed), tuple(broken))


def _some(ids: set[str]) -> str:
    names = sorted(ids)
    return f"{len(names)} ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})" if names else "0"
