"""Calibrate the rejection threshold of voice commands on speech that must be rejected, and measure its errors."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from ...data.grammars.grammar import Value
from ...decoding.calibration import fit_logistic
from ...decoding.decoder import Decoder
from ...system.files import write_whole
from .recognition import Acceptance, Command, CommandRecogniser

FARTHEST = 1.0  # of the score: the threshold is at most so far below the lowest command

Meaning = tuple[str, dict[str, Value]]  # name and slots of a command


@dataclass(frozen=True)
class Judged:
    """
    A recognised utterance with its transcript.

    Args:
        id: the utterance's id.
        text: the transcript.
        meant: the command in the transcript. None means out-of-grammar speech.
        command: what was recognised.
        greedy: the command in the greedy transcript, if that is a sentence of the grammar.
    """

    id: str
    text: str
    meant: Meaning | None
    command: Command
    greedy: Meaning | None = None

    @property
    def right(self) -> bool:
        """Whether the recognised command is the one that was said, no matter if it is accepted."""
        return self.meant is not None and self.meant == (self.command.best, dict(self.command.slots))


def judge(recogniser: CommandRecogniser, spoken: Iterable[tuple[str, str, np.ndarray]]) -> Iterator[Judged]:
    """
    Recognise each utterance and compare it with its transcript.

    Args:
        recogniser: the recogniser.
        spoken: id, transcript and log-probabilities (T', V) of each utterance.
    """
    decoder = Decoder(recogniser.processor, recogniser.frame_s)
    for name, text, log_probs in spoken:
        greedy = recogniser.parse(decoder.decode_clip(log_probs).text)
        yield Judged(name, text, recogniser.parse(text), recogniser.recognise(log_probs), greedy)


def near_misses(recogniser: CommandRecogniser, spoken: Iterable[tuple[str, str, np.ndarray]]) -> Iterator[Judged]:
    """
    Recognise near misses, the speech that is hardest to reject: commands whose value of one slot is removed from the
    grammar. There is one near miss for each slot of a command that has other values, unless the smaller grammar still
    contains the sentence.
    """
    smaller: dict[tuple[str, Value], CommandRecogniser | None] = {}
    for name, text, log_probs in spoken:
        meant = recogniser.parse(text)
        for slot, value in meant[1].items() if meant else ():
            if (slot, value) not in smaller:
                smaller[slot, value] = without_value(recogniser, slot, value)
            without = smaller[slot, value]
            if without and without.parse(text) is None:
                yield Judged(f"{name} without {slot} {value}", text, None, without.recognise(log_probs))


def without_value(recogniser: CommandRecogniser, slot: str, value: Value) -> CommandRecogniser | None:
    """Return a recogniser whose grammar lacks a value of a slot, or None if the slot has no other."""
    grammar = recogniser.grammar
    others = {said: means for said, means in grammar.slots[slot].items() if means != value}
    return recogniser.with_grammar(replace(grammar, slots={**grammar.slots, slot: others})) if others else None


def find_acceptance(
    judged: Sequence[Judged], hard: Sequence[Judged], false_accepts: float, hard_accepts: float
) -> Acceptance:
    """
    Calibrate the rejection threshold and the confidence.

    The threshold keeps the false accepts of out-of-grammar speech and near misses below the given shares, and rejects
    the fewest commands. The confidence is fitted to how often the scores of all utterances belong to right commands.

    Args:
        judged: commands and out-of-grammar speech.
        hard: near misses.
        false_accepts, hard_accepts: the largest accepted shares of out-of-grammar speech and of near misses, 0 to 1.

    Raises:
        ValueError: no command is recognised correctly, or there is neither out-of-grammar speech nor a near miss.
    """
    inside = [one.command.score for one in judged if one.right]
    outside = [one.command.score for one in judged if one.meant is None]
    misses = [one.command.score for one in hard]
    if not inside or not (outside or misses):
        raise ValueError(
            f"of {len(judged)} utterances {len(inside)} are correctly recognised commands and {len(outside)} are "
            f"out-of-grammar speech, and there are {len(misses)} near misses; expected some commands and some speech "
            "to reject: name a split of other speech with --outside"
        )
    strictest = max(_just_rejected(outside, false_accepts), _just_rejected(misses, hard_accepts))
    lowest = min((score for score in inside if score > strictest), default=None)
    if lowest is None:
        threshold = float(np.nextafter(strictest, np.inf))
    else:  # any threshold down to the next wrong score rejects as few commands: take the middle
        below = max(score for score in [*outside, *misses] if score < lowest)
        threshold = (lowest + max(below, lowest - FARTHEST)) / 2
    # Add one wrong utterance with the best score. If scores separate all utterances, the fit would be a step otherwise.
    scores = [max(one.command.score, min(inside) - FARTHEST) for one in [*judged, *hard]] + [0.0]
    right = [float(one.right) for one in [*judged, *hard]] + [0.0]
    return Acceptance(threshold, *fit_logistic(np.array(scores), np.array(right)))


def _just_rejected(scores: Sequence[float], accepted: float) -> float:
    """Return the highest score that must be rejected, so that at most a share of the utterances is accepted."""
    ordered = sorted(scores, reverse=True)
    return ordered[min(int(accepted * len(ordered)), len(ordered) - 1)] if ordered else -np.inf


@dataclass(frozen=True)
class Share:
    """A share, `count` of `total`, with its 95 % interval by Wilson (1927)."""

    count: int
    total: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, both bounds from 0 to 1."""
        if not self.total:
            return 0.0, 1.0
        z = NormalDist().inv_cdf(0.975)
        middle = self.count + z**2 / 2
        half = z * (self.count * (self.total - self.count) / self.total + z**2 / 4) ** 0.5
        low, high = ((middle + side) / (self.total + z**2) for side in (-half, half))
        return max(low, 0.0), min(high, 1.0)

    def __str__(self) -> str:
        low, high = (100 * bound for bound in self.interval)
        share = f"{100 * self.count / self.total:.1f} %" if self.total else "-"
        return f"{self.count:,} of {self.total:,}: {share} ({low:.1f} to {high:.1f})"


def accepted_share(judged: Sequence[Judged], threshold: float) -> Share:
    """Return the share of utterances whose score reaches the threshold."""
    return Share(sum(one.command.score >= threshold for one in judged), len(judged))


def summary(judged: Sequence[Judged], hard: Sequence[Judged], threshold: float) -> dict[str, Share]:
    """Return the shares of commands, out-of-grammar speech and near misses that are accepted, rejected or mistaken."""
    inside = [one for one in judged if one.meant is not None]
    taken = [one for one in inside if one.command.score >= threshold]
    right = sum(one.right for one in taken)
    return {
        "commands, accepted and right with all slots": Share(right, len(inside)),
        "commands, accepted as another command": Share(len(taken) - right, len(inside)),
        "commands, rejected": Share(len(inside) - len(taken), len(inside)),
        "commands, most likely sentence is right": Share(sum(one.right for one in inside), len(inside)),
        "commands, greedy transcript is right": Share(sum(one.greedy == one.meant for one in inside), len(inside)),
        "out-of-grammar speech, accepted": accepted_share([one for one in judged if one.meant is None], threshold),
        "near misses, accepted": accepted_share(hard, threshold),
    }


class TradeOff(NamedTuple):
    """
    The false accepts and lost commands at every threshold.

    Args:
        accepted, lost: (N,) the accepted share of out-of-grammar speech, and the share of commands that are rejected or
            mistaken, by threshold, the strictest first.
        chosen: both shares at the chosen threshold.
    """

    accepted: np.ndarray
    lost: np.ndarray
    chosen: tuple[float, float]


def trade_off(inside: Sequence[Judged], outside: Sequence[Judged], threshold: float) -> TradeOff:
    """Return the trade-off between lost commands (`inside`) and accepted out-of-grammar speech (`outside`)."""
    understood = np.array([one.command.score if one.right else -np.inf for one in inside])
    wrongly = np.array([one.command.score for one in outside])
    scores = np.unique([*understood, *wrongly])[::-1]
    scores = np.r_[np.inf, scores[np.isfinite(scores)], threshold]
    accepted = np.array([np.mean(wrongly >= score) for score in scores])
    lost = np.array([np.mean(understood < score) for score in scores])
    return TradeOff(accepted[:-1], lost[:-1], (float(accepted[-1]), float(lost[-1])))


def warning(judged: Sequence[Judged], false_accepts: float) -> str:
    """Return a warning if there is too little out-of-grammar speech to measure the accepted share, or ''."""
    total = sum(one.meant is None for one in judged)
    needed = round(3 / false_accepts) if false_accepts else 0
    if not needed or total >= needed:
        return ""
    if not total:
        return "there is no out-of-grammar speech, only near misses; name a split of other speech with --outside"
    return (
        f"{total:,} out-of-grammar utterances cannot show {100 * false_accepts:g} % of false accepts: even if "
        f"none is accepted, the share can be {300 / total:.1f} % (95 %). Give {needed:,} or more with --outside"
    )


def write_judged(path: Path, judged: Mapping[str, Sequence[Judged]], acceptance: Acceptance) -> None:
    """Write a JSON line for each utterance: its transcript, the recognised sentence, and whether it is accepted."""
    lines = []
    for split, some in judged.items():
        for one in some:
            line = {
                "split": split,
                "id": one.id,
                "said": one.text,
                "meant": one.meant,
                "recognised": one.command.text,
                "score": round(one.command.score, 3) if np.isfinite(one.command.score) else None,
                "accepted": bool(one.command.score >= acceptance.threshold),
                "right": one.right,
            }
            lines.append(json.dumps(line, ensure_ascii=False))
    write_whole(path, "".join(f"{line}\n" for line in lines))
