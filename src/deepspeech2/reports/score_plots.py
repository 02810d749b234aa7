"""Where a model's errors are: by length of the utterance, by speaker, by number of errors."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ..metrics import Counts, Scores
from .plots import INK, MUTED, SERIES, Draw

_MAX_NAMED = 24


def wer_by_length(scores: Scores, bins: int = 6) -> Draw:
    """WER of equally many utterances at a time, by seconds of audio, or by words where no seconds are known."""
    timed = all(utterance.duration_s > 0 for utterance in scores.utterances)
    unit = "seconds" if timed else "words"
    lengths = np.array([u.duration_s if timed else u.words.reference_length for u in scores.utterances])
    order = np.argsort(lengths, kind="stable")
    groups = [group for group in np.array_split(order, min(bins, len(order))) if len(group)]

    def draw(axes: Axes) -> None:
        values = [_percent(sum((scores.utterances[index].words for index in group), Counts())) for group in groups]
        ends = [(lengths[group[0]], lengths[group[-1]]) for group in groups]
        digits = 1 if timed and any(round(low) == round(high) for low, high in ends) else 0
        labels = [f"{low:.{digits}f}–{high:.{digits}f}" if low != high else f"{low:.{digits}f}" for low, high in ends]
        axes.bar(range(len(values)), values, width=0.72, color=SERIES[1])
        for index, value in enumerate(values):
            axes.text(index, value, f"{value:.0f}", ha="center", va="bottom", color=INK, size=8.5)
        axes.set_xticks(range(len(values)), labels)
        axes.set_title("WER by length, %")
        axes.set_xlabel(f"{unit}; about {len(order) / len(groups):.0f} utterances a bar")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.margins(y=0.15)

    return draw


def wer_by(column: str, scores: Scores) -> tuple[Draw, float]:
    """A point for each value of a column, best first, and the height in inches that it needs."""
    members = sorted(scores.groups[column].items(), key=lambda item: (item[1].wer, item[0]))
    named = len(members) <= _MAX_NAMED

    def draw(axes: Axes) -> None:
        values = [_percent(group.words) for _, group in members]
        positions = range(len(values))
        if named:
            axes.hlines(positions, 0, values, color=SERIES[0], linewidth=1.2)
            axes.set_yticks(positions, [name if len(name) <= 14 else name[:13] + "…" for name, _ in members])
        else:
            axes.set_yticks([])
            axes.set_ylabel(f"{len(members)} values, best first")
        axes.plot(values, positions, "o", color=SERIES[1], markersize=5 if named else 2.5)
        axes.axvline(100 * scores.wer, color=SERIES[2], linewidth=1.2)
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.grid(False, axis="y")
        axes.grid(True, axis="x")
        axes.set_title(f"WER by {column}, %")
        axes.set_xlabel("vertical line: the corpus")

    return draw, (max(2.7, 0.2 * len(members) + 0.9) if named else 2.7)


def errors_per_utterance(scores: Scores, most: int = 6) -> Draw:
    """How many utterances have no, one, two ... wrong words."""
    errors = np.minimum([utterance.words.errors for utterance in scores.utterances], most)
    shares = 100 * np.bincount(errors, minlength=most + 1) / len(errors)

    def draw(axes: Axes) -> None:
        axes.bar(range(most + 1), shares, width=0.72, color=[SERIES[1]] + [SERIES[0]] * most)
        for index, share in enumerate(shares):
            if share:
                axes.text(index, share, f"{share:.0f}", ha="center", va="bottom", color=INK, size=8.5)
        axes.set_xticks(range(most + 1), [*map(str, range(most)), f"{most}+"])
        axes.set_title("Word errors in an utterance")
        axes.set_xlabel("errors; bars: % of the utterances", color=MUTED)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.margins(y=0.15)

    return draw


def _percent(words: Counts) -> float:
    """The rate in per cent, for drawing; an infinite one is drawn at 100."""
    return 100 * words.rate if math.isfinite(words.rate) else 100.0
