"""Plots of error rates and of training: one drawing as a PNG on white and as an SVG in its page's colours.

Every figure is a phone's width, so that its text is as large as the page's; pages lay figures side by side.
"""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..metrics import Scores

Draw = Callable[[Axes], None]
Results = Mapping[str, Mapping[str, Scores]]

INK, MUTED, GRID = "#20242c", "#6a7280", "#e3e6ea"
SERIES = ("#98a2b3", "#1d6f8c", "#c98736", "#7d5ba6", "#5b8c5a")
# What a page's style sheet calls each colour, so that an inlined SVG follows the light and the dark theme.
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
    "xtick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.color": MUTED,
    "ytick.major.size": 0,
}
_WIDTH = 4.8  # inches; at 72 points an inch, 9-point text stays about 9 pixels on a 346-pixel column


def draw_figure(draw: Draw, height: float = 2.7) -> Figure:
    """One panel; `height` in inches."""
    return draw_figures([draw], height=height, columns=1)


def draw_figures(draws: Sequence[Draw], height: float = 2.7, columns: int = 2) -> Figure:
    """Panels in a grid, each `height` inches high."""
    rows = math.ceil(len(draws) / columns)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH * min(columns, len(draws)), height * rows), layout="constrained")
        for index, draw in enumerate(draws):
            draw(figure.add_subplot(rows, min(columns, len(draws)), index + 1))
    return figure


def save_png(figure: Figure, path: Path) -> Path:
    with matplotlib.rc_context(_STYLE):
        figure.savefig(path, format="png", dpi=200, facecolor="white")
    return path


def to_svg(figure: Figure, label: str) -> str:
    """An `<svg>` element to inline: no size, colours from the page's variables, `label` for screen readers."""
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
    """WER of every stage by split, each bar with its 95 % interval."""
    splits = dict.fromkeys(split for by_split in results.values() for split in by_split)
    return _bars(
        {split: {stage: of[split].wer_with_interval for stage, of in results.items() if split in of} for split in splits},
        stages=list(results),
        label="WER, % (line: 95 % interval)",
    )


def word_and_character_bars(models: Mapping[str, Scores]) -> Figure:
    """WER and CER of models on one split, each bar with its 95 % interval."""
    return _bars(
        {
            "Word error rate": {name: scores.wer_with_interval for name, scores in models.items()},
            "Character error rate": {name: scores.cer_with_interval for name, scores in models.items()},
        },
        stages=list(models),
        label="% (line: 95 % interval)",
    )


def _bars(groups: Mapping[str, Mapping[str, tuple[float, Interval | None]]], stages: list[str], label: str) -> Figure:
    """Horizontal bars under headings; a stage has the same colour in every group."""
def training_curves(log_history: Sequence[Mapping[str, Any]]) -> dict[str, Draw]:
    """Title -> panel, for what the `log_history` of a `Trainer` holds."""
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
    """Key of a log entry -> title of its panel, name of its line, factor."""
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
        axes.set_ylim(bottom=0)

    return draw


def _bounds(scores: Scores, rate: str) -> tuple[float, float]:
    """The interval in per cent, for drawing: the value itself where there is none or where it is infinite."""
    value = getattr(scores, rate)
    value = value if math.isfinite(value) else 0.0
    interval = getattr(scores, f"{rate}_interval") or (value, value)
    low, high = (100 * bound if math.isfinite(bound) else 100 * value for bound in interval)
    return low, high
