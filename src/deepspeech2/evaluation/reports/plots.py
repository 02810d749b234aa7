"""Plots of error rates and of training, as a PNG on white or as an SVG in the colours of its page.

Every figure has the width of a phone, so that its text is as large as the text of the page. Pages place figures side by
side.
"""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ...system.files import write_whole
from ..metrics import Counts, Scores

Draw = Callable[[Axes], None]
Results = Mapping[str, Mapping[str, Scores]]  # stage -> split -> scores
_Rate = tuple[float, tuple[float, float] | None]  # as fractions, with its interval
INK, MUTED, GRID = "#20242c", "#6a7280", "#e3e6ea"
SERIES = ("#98a2b3", "#1d6f8c", "#c98736", "#7d5ba6", "#5b8c5a")
# The name of each colour in the style sheet of a page, so that an inlined SVG follows the light and the dark theme.
_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "line"} | {
    colour: f"series-{index}" for index, colour in enumerate(SERIES)
}
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "deepspeech2",
    "text.color": INK,
    "text.parse_math": False,  # a speaker called $x_$ is not a formula
    "xtick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.color": MUTED,
    "ytick.major.size": 0,
}
_WIDTH = 4.2  # inches, 302 points: 9-point text is 9 pixels high in the 310-pixel column of a phone
_MAX_NAMED = 24


def draw_figure(draw: Draw, height: float = 2.7) -> Figure:
    """Draw one panel, `height` inches high."""
    return draw_figures([draw], height=height, columns=1)


def draw_figures(draws: Sequence[Draw], height: float = 2.7, columns: int = 2) -> Figure:
    """Draw panels in a grid, each `height` inches high."""
    rows = math.ceil(len(draws) / columns)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH * min(columns, len(draws)), height * rows), layout="constrained")
        for index, draw in enumerate(draws):
            draw(figure.add_subplot(rows, min(columns, len(draws)), index + 1))
    return figure


def save_png(figure: Figure, path: Path) -> Path:
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="png", dpi=200, facecolor="white")
    write_whole(path, buffer.getvalue())
    return path


def to_svg(figure: Figure, label: str) -> str:
    """Return an `<svg>` element to inline: without a size, in the colours of the page, with `label` as aria-label."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(["Creator", "Date", "Format", "Type"]))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    for colour, name in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{name})")
    prefix = re.sub(r"\W+", "-", label.lower())
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    escaped = label.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escaped}"', 1)


def error_rate_bars(results: Results) -> Figure:
    """Plot the WER of every stage by split, each bar with its 95 % interval."""
    splits = dict.fromkeys(split for by_split in results.values() for split in by_split)
    groups = {
        split: {stage: (of[split].wer, of[split].wer_interval) for stage, of in results.items() if split in of}
        for split in splits
    }
    return _bars(groups, list(results), "WER, % (line: 95 % interval)")


def word_and_character_bars(models: Mapping[str, Scores]) -> Figure:
    """Plot WER and CER of models on one split, each bar with its 95 % interval."""
    groups = {
        "Word error rate": {name: (scores.wer, scores.wer_interval) for name, scores in models.items()},
        "Character error rate": {name: (scores.cer, scores.cer_interval) for name, scores in models.items()},
    }
    return _bars(groups, list(models), "% (line: 95 % interval)")


def _bars(groups: Mapping[str, Mapping[str, _Rate]], stages: Sequence[str], label: str) -> Figure:
    """Plot horizontal bars under headings. Each stage has one colour, and a single stage has the second colour."""
    bounds = [_drawn(rate) for rates in groups.values() for rate in rates.values()]
    end = max([1.0, *(high for _, _, high in bounds)])
    height = sum(1.0 + len(rates) for rates in groups.values())

    def draw(axes: Axes) -> None:
        y = 0.0
        for heading, rates in groups.items():
            axes.text(0, y, heading, weight="bold", va="center", size=10)
            y += 0.75
            for stage, rate in rates.items():
                value, low, high = _drawn(rate)
                colour = SERIES[stages.index(stage) % len(SERIES) if len(stages) > 1 else 1]
                axes.text(0, y - 0.32, stage, va="center", color=MUTED)
                axes.barh(y + 0.14, value, height=0.46, color=colour)
                axes.plot([low, high], [y + 0.14] * 2, color=INK, linewidth=1.2, solid_capstyle="butt")
                text = f"{value:.1f}" if math.isfinite(rate[0]) else "∞"
                axes.text(max(value, high) + 0.015 * end, y + 0.14, text, va="center", weight="bold")
                y += 1.0
            y += 0.25
        axes.set_ylim(height - 0.35, -0.5)
        axes.set_xlim(0, 1.14 * end)
        axes.set_yticks([])
        axes.grid(True, axis="x")
        axes.set_xlabel(label)

    return draw_figure(draw, height=0.36 * height + 0.55)


def _drawn(rate: _Rate) -> tuple[float, float, float]:
    """Return value, lower and upper bound in per cent: 0 for an infinite rate, the value for a missing bound."""
    value = 100 * rate[0] if math.isfinite(rate[0]) else 0.0
    low, high = (100 * bound if math.isfinite(bound) else value for bound in rate[1] or rate[:1] * 2)
    return value, low, high


def training_curves(log_history: Sequence[Mapping[str, Any]]) -> dict[str, Draw]:
    """Return title -> panel, for the values in the `log_history` of a `Trainer`."""
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for entry in log_history:
        for key, value in entry.items():
            found = _panel_of(key)
            if found and isinstance(value, int | float) and math.isfinite(value):
                title, name, factor = found
                points = series.setdefault(title, {}).setdefault(name, [])
                points.append((float(entry.get("step", len(points))), factor * value))
    order = ["Loss", "WER, %", "Learning rate", "Audio seconds per second"]
    return {title: _lines(title, series[title]) for title in order if title in series}


def _panel_of(key: str) -> tuple[str, str, float] | None:
    """Map the key of a log entry to the title of its panel, the name of its line, and a factor."""
    if key == "loss":
        return "Loss", "training", 1
    if key == "learning_rate":
        return "Learning rate", "", 1
    if key.removeprefix("train_") == "audio_s_per_s":
        return "Audio seconds per second", "", 1
    if evaluation := re.fullmatch(r"eval_(?:(.+)_)?(loss|wer)", key):
        name = evaluation[1] or "evaluation"
        return ("Loss", name, 1) if evaluation[2] == "loss" else ("WER, %", name, 100)
    return None


def _lines(title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> Draw:
    def draw(axes: Axes) -> None:
        for index, (name, points) in enumerate(lines.items()):
            colour = SERIES[(index + 1) % len(SERIES)]
            marker = "o" if len(points) < 25 else ""
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, color=colour, label=name, marker=marker, markersize=3)
        if len(lines) > 1:
            axes.legend(frameon=False, labelcolor=MUTED, fontsize=8.5, loc="best", handlelength=1.2)
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if title == "Learning rate":
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.1e}" if value else "0"))
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1.08 * max(value for points in lines.values() for _, value in points) or None)

    return draw


def wer_by_length(scores: Scores, bins: int = 6) -> Draw:
    """Plot the WER of equally large groups by duration in seconds, or by number of words if durations are unknown."""
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
        axes.set_xlabel(f"{unit} (each bar: about {len(order) / len(groups):.0f} utterances)")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.margins(y=0.15)

    return draw


def wer_by(column: str, scores: Scores) -> tuple[Draw, float]:
    """Plot a point for each value of a column, best first. Return the drawing and its height in inches."""
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
        axes.set_xlabel("vertical line: WER of the whole corpus")

    return draw, (max(2.7, 0.2 * len(members) + 0.9) if named else 2.7)


def errors_per_utterance(scores: Scores, most: int = 6) -> Draw:
    """Plot the share of utterances with 0, 1, 2, ... word errors."""
    errors = np.minimum([utterance.words.errors for utterance in scores.utterances], most)
    shares = 100 * np.bincount(errors, minlength=most + 1) / len(errors)

    def draw(axes: Axes) -> None:
        axes.bar(range(most + 1), shares, width=0.72, color=[SERIES[1]] + [SERIES[0]] * most)
        for index, share in enumerate(shares):
            if share:
                axes.text(index, share, f"{share:.0f}", ha="center", va="bottom", color=INK, size=8.5)
        axes.set_xticks(range(most + 1), [*map(str, range(most)), f"{most}+"])
        axes.set_title("Word errors per utterance")
        axes.set_xlabel("errors (bars: % of utterances)", color=MUTED)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.margins(y=0.15)

    return draw


def _percent(words: Counts) -> float:
    """Return the rate in per cent for drawing. An infinite rate is drawn at 100."""
    return 100 * words.rate if math.isfinite(words.rate) else 100.0
