"""The rejection threshold of voice commands: its calibration on speech that must be rejected, and what it costs."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from ...decoding.calibration import fit_logistic
from ...system.files import write_whole
from .grammar import Value
from .recognition import Acceptance, Command, CommandRecogniser

FARTHEST = 1.0  # nats a letter below the lowest command: nearer may lie what nobody has looked at

Meaning = tuple[str, dict[str, Value]]  # of a sentence of the grammar: the command's name and its slots


@dataclass(frozen=True)
class Judged:
    """
    An utterance that was recognised; `meant` is what its transcript says, None where the grammar lacks it, and `greedy`
    the greedy transcript, if that is a sentence of the grammar.
    """

    id: str
    text: str
    meant: Meaning | None
    command: Command
    greedy: Meaning | None = None

    @property
    def right(self) -> bool:
        """Whether it would be the command that was said, if it is accepted."""
        return self.meant is not None and self.meant == (self.command.best, dict(self.command.slots))


def judge(recogniser: CommandRecogniser, spoken: Iterable[tuple[str, str, np.ndarray]]) -> Iterator[Judged]:
    """
    Args:
        spoken: id, transcript and log-probabilities (T', V) of each utterance.
    """
    for name, text, log_probs in spoken:
        (written,) = recogniser.processor.batch_decode(log_probs.argmax(axis=1)[None])
        yield Judged(name, text, recogniser.parse(text), recogniser.recognise(log_probs), recogniser.parse(written))


def near_misses(recogniser: CommandRecogniser, spoken: Iterable[tuple[str, str, np.ndarray]]) -> Iterator[Judged]:
    """
    The hardest to reject: each command, one of whose slot values is taken out of the grammar. One for each of its slots
    that keeps another value; a sentence that the grammar then has all the same is left out.
    """
    grammar = recogniser.grammar
    for name, text, log_probs in spoken:
        meant = recogniser.parse(text)
        for slot, value in meant[1].items() if meant else ():
            others = {said: means for said, means in grammar.slots[slot].items() if means != value}
            if not others:
                continue
            without = recogniser.with_grammar(replace(grammar, slots={**grammar.slots, slot: others}))
            if without.parse(text) is None:
                yield Judged(f"{name} without {slot} {value}", text, None, without.recognise(log_probs))


def find_acceptance(
    judged: Sequence[Judged], hard: Sequence[Judged], false_accepts: float, hard_accepts: float
) -> Acceptance:
    """
    The threshold that accepts at most a share of out-of-grammar speech and of near misses, and rejects the fewest
    commands; and a confidence by how often a score was right, among all that was judged.

    Args:
        judged: commands and out-of-grammar speech.
        hard: near misses.
        false_accepts, hard_accepts: the shares, from 0 to 1.

    Raises:
        ValueError: no command that was recognised rightly, or neither out-of-grammar speech nor a near miss.
    """
    inside = [one.command.score for one in judged if one.right]
    outside = [one.command.score for one in judged if one.meant is None]
    misses = [one.command.score for one in hard]
    if not inside or not (outside or misses):
        raise ValueError(
            f"of {len(judged)} utterances {len(inside)} are commands that were recognised rightly and "
            f"{len(outside)} are out of the grammar, and there are {len(misses)} near misses; expected some commands, "
            "and some of the others: name speech that is no command by --outside"
        )
    strictest = max(_just_rejected(outside, false_accepts), _just_rejected(misses, hard_accepts))
    lowest = min((score for score in inside if score > strictest), default=None)
    if lowest is None:
        threshold = float(np.nextafter(strictest, np.inf))
    else:  # anywhere down to the next score that is wrong rejects as few commands: half-way
        below = max(score for score in [*outside, *misses] if score < lowest)
        threshold = (lowest + max(below, lowest - FARTHEST)) / 2
    # One more, wrong in spite of the best score: where scores tell all apart, the likeliest curve would be a step.
    scores = [max(one.command.score, min(inside) - FARTHEST) for one in [*judged, *hard]] + [0.0]
    right = [float(one.right) for one in [*judged, *hard]] + [0.0]
    return Acceptance(threshold, *fit_logistic(np.array(scores), np.array(right)))


def _just_rejected(scores: Sequence[float], accepted: float) -> float:
    """The highest score that must be rejected for no more than a share to be accepted."""
    ordered = sorted(scores, reverse=True)
    return ordered[min(int(accepted * len(ordered)), len(ordered) - 1)] if ordered else -np.inf


@dataclass(frozen=True)
class Share:
    """`count` of `total`, with the 95 % interval of Wilson (1927)."""

    count: int
    total: int

    @property
    def interval(self) -> tuple[float, float]:
        if not self.total:
            return 0.0, 1.0
        found = binomtest(self.count, self.total).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = (100 * bound for bound in self.interval)
        share = f"{100 * self.count / self.total:.1f} %" if self.total else "-"
        return f"{self.count:,} of {self.total:,}: {share} ({low:.1f} to {high:.1f})"


def accepted_share(judged: Sequence[Judged], threshold: float) -> Share:
    return Share(sum(one.command.score >= threshold for one in judged), len(judged))


def summary(judged: Sequence[Judged], hard: Sequence[Judged], threshold: float) -> dict[str, Share]:
    """What becomes of the commands, of the other sentences of their split and speech, and of near misses."""
    inside = [one for one in judged if one.meant is not None]
    taken = [one for one in inside if one.command.score >= threshold]
    right = sum(one.right for one in taken)
    return {
        "commands, understood with all slots": Share(right, len(inside)),
        "commands, taken for another": Share(len(taken) - right, len(inside)),
        "commands, rejected": Share(len(inside) - len(taken), len(inside)),
        "commands, the likeliest sentence is right": Share(sum(one.right for one in inside), len(inside)),
        "commands, the greedy text is right": Share(sum(one.greedy == one.meant for one in inside), len(inside)),
        "outside the grammar, accepted": accepted_share([one for one in judged if one.meant is None], threshold),
        "near misses, accepted": accepted_share(hard, threshold),
    }


class TradeOff(NamedTuple):
    """
    Args:
        accepted, lost: (N,) shares of out-of-grammar speech that is accepted, and of the commands that are rejected or
            mistaken, by threshold, the strictest first.
        chosen: both at the threshold that was taken.
    """

    accepted: np.ndarray
    lost: np.ndarray
    chosen: tuple[float, float]


def trade_off(inside: Sequence[Judged], outside: Sequence[Judged], threshold: float) -> TradeOff:
    understood = np.array([one.command.score if one.right else -np.inf for one in inside])
    wrongly = np.array([one.command.score for one in outside])
    scores = np.unique([*understood, *wrongly])[::-1]
    scores = np.r_[np.inf, scores[np.isfinite(scores)], threshold]
    accepted = np.array([np.mean(wrongly >= score) for score in scores])
    lost = np.array([np.mean(understood < score) for score in scores])
    return TradeOff(accepted[:-1], lost[:-1], (float(accepted[-1]), float(lost[-1])))


def warning(judged: Sequence[Judged], false_accepts: float) -> str:
    """Says where there is too little out-of-grammar speech to measure the share that is accepted; else empty."""
    total = sum(one.meant is None for one in judged)
    needed = round(3 / false_accepts) if false_accepts else 0
    if not needed or total >= needed:
        return ""
    if not total:
        return "no utterance outside the grammar was looked at, only near misses; give other speech by --outside"
    return (
        f"{total:,} utterances outside the grammar cannot show a share of {100 * false_accepts:g} %: none accepted of "
        f"{total:,} would still allow up to {300 / total:.1f} % (95 %); give {needed:,} or more by --outside"
    )


def write_judged(path: Path, judged: Mapping[str, Sequence[Judged]], acceptance: Acceptance) -> None:
    """A line for each utterance of each split: its transcript, the recognised sentence, and whether it is accepted."""
    lines = []
    for split, some in judged.items():
        for one in some:
            line = {
                "split": split,
                "id": one.id,
                "said": one.text,
                "meant": one.meant,
                "heard": one.command.text,
                "score": round(one.command.score, 3) if np.isfinite(one.command.score) else None,
                "accepted": bool(one.command.score >= acceptance.threshold),
                "right": one.right,
            }
            lines.append(json.dumps(line, ensure_ascii=False))
    write_whole(path, "".join(f"{line}\n" for line in lines))
