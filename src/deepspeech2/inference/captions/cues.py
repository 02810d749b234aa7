"""
Turn words with times into cues within the limits of broadcasters.

The defaults are those of Netflix's Timed Text Style Guide (general requirements and English: two lines of 42
characters, 20 characters per second for adults and 17 for children, 5/6 s to 7 s, two frames between cues). The BBC's
Subtitle Guidelines recommend about 37 characters per line, 160 to 180 words per minute, and at least 0.3 s per word.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ...decoding.words import Word

SENTENCE_ENDS, CLAUSE_ENDS = (".", "?", "!", "…"), (",", ";", ":", "–", "—")
CLOCK_S = 0.001  # the time resolution of the formats
LONG_PAUSE_S = 1.0


class Cue(NamedTuple):
    """A caption on the screen from `start_s` to `end_s`. Newlines separate its lines."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Limits:
    """
    The limits of a cue.

    Args:
        line_length: characters per line.
        max_lines: lines per cue.
        max_characters_per_s: reading speed.
        min_duration_s, max_duration_s: duration of a cue in seconds.
        min_gap_s: gap between two cues in seconds.

    Raises:
        ValueError: a limit is out of range.
    """

    line_length: int = 42
    max_lines: int = 2
    max_characters_per_s: float = 20.0
    min_duration_s: float = 5 / 6
    max_duration_s: float = 7.0
    min_gap_s: float = 2 / 24

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0 and not (name == "min_gap_s" and value == 0):
                expected = "0 or more" if name == "min_gap_s" else "more than 0"
                raise ValueError(f"{name} is {value}; expected {expected}")
        if self.min_duration_s > self.max_duration_s:
            raise ValueError(
                f"min_duration_s is {self.min_duration_s:.3f}; expected at most max_duration_s "
                f"({self.max_duration_s:.3f})"
            )


def break_lines(text: str, limits: Limits) -> list[str]:
    """Break a text into the fewest lines, of similar length. A word longer than a line gets a line of its own."""
    full = _wrap(text, limits.line_length)
    narrower = (_wrap(text, width) for width in range(max(map(len, full), default=1) // 2, limits.line_length))
    return next((lines for lines in narrower if len(lines) == len(full)), full)


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False)


def make_cues(words: Sequence[Word], limits: Limits) -> list[Cue]:
    """
    Make cues of words in the order of their times. Each word is in exactly one cue.

    Dynamic programming finds the cheapest of all partitions: few cues, cuts at pauses and ends of sentences, and enough
    time to read each cue. A cue holds words that fit its lines and are spoken within `max_duration_s`, or a single
    word. It stays until it can be read, unless the next cue begins before. Fast speech may exceed
    `max_characters_per_s`. A cue that would begin less than `min_gap_s` before the next one becomes part of it, for any
    number of lines. This happens to script words that the model did not find.
    """
    if not words:
        return []
    best: list[tuple[float, int]] = [(0.0, 0)]  # for the first n words: the cost and the start of their last cue
    for end in range(1, len(words) + 1):
        options = []
        for start in range(end - 1, -1, -1):
            alone = start == end - 1
            if not alone and not _fits(words[start:end], limits):
                break
            options.append((best[start][0] + _cost(words, start, end, limits), start))
        best.append(min(options))
    ends = [len(words)]
    while best[ends[-1]][1]:
        ends.append(best[ends[-1]][1])
    starts = [0, *reversed(ends)]
    groups: list[Sequence[Word]] = []
    for start, end in pairwise(starts):
        if groups and words[start].start_s - groups[-1][0].start_s < max(limits.min_gap_s, CLOCK_S):
            groups[-1] = [*groups[-1], *words[start:end]]
        else:
            groups.append(words[start:end])
    return [
        Cue(group[0].start_s, _off(group, after, limits), "\n".join(break_lines(_text(group), limits)))
        for group, after in zip(groups, [*groups[1:], None], strict=True)
    ]


def _text(words: Sequence[Word]) -> str:
    return " ".join(word.text for word in words)


def _fits(words: Sequence[Word], limits: Limits) -> bool:
    if words[-1].end_s - words[0].start_s > limits.max_duration_s:
        return False
    text = _text(words)
    if len(text) > limits.max_lines * (limits.line_length + 1):
        return False
    lines = _wrap(text, limits.line_length)
    return len(lines) <= limits.max_lines and max(map(len, lines)) <= limits.line_length


def _cost(words: Sequence[Word], start: int, end: int, limits: Limits) -> float:
    """Return the cost of the cue `words[start:end]`: 1, plus penalties if it is too fast, too short or has pauses."""
    group = words[start:end]
    after = words[end].start_s if end < len(words) else float("inf")
    room_s = max(min(after - limits.min_gap_s, group[0].start_s + limits.max_duration_s) - group[0].start_s, 0.1)
    too_fast = max(len(_text(group)) / room_s / limits.max_characters_per_s - 1, 0.0)
    too_short = max(1 - room_s / limits.min_duration_s, 0.0)
    cost = 1 + 4 * too_fast + 4 * too_short
    # A pause inside the cue costs what a cut there would gain.
    for one, other in pairwise(group):
        cost += _gain(one, other.start_s)
    return cost


def _gain(word: Word, next_start_s: float) -> float:
    """Return what a cut after a word gains. More than 1 justifies another cue."""
    gain = 1.5 * min(max(next_start_s - word.end_s, 0.0) / LONG_PAUSE_S, 1.0)
    if word.text.endswith(SENTENCE_ENDS):
        return gain + 0.8
    return gain + 0.3 * word.text.endswith(CLAUSE_ENDS)


def _off(group: Sequence[Word], after: Sequence[Word] | None, limits: Limits) -> float:
    """Return the end of a cue: it has been spoken and there was time to read it, but the next has not begun."""
    start_s, said_s = group[0].start_s, group[-1].end_s
    wanted_s = start_s + max(limits.min_duration_s, len(_text(group)) / limits.max_characters_per_s)
    end_s = max(said_s, min(wanted_s, start_s + limits.max_duration_s))
    if after is None:
        return end_s
    next_s = after[0].start_s
    end_s = min(end_s, next_s - limits.min_gap_s)
    return end_s if end_s > start_s else max(start_s, next_s)


def too_fast(cues: Sequence[Cue], limits: Limits) -> int:
    """Count the cues that exceed `max_characters_per_s`, with a tolerance of a tenth of a character for rounding."""
    allowed = [(cue.end_s - cue.start_s) * limits.max_characters_per_s + 0.1 for cue in cues]
    return sum(len(cue.text) > most for cue, most in zip(cues, allowed, strict=True))
