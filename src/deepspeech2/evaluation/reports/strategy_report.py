"""Report a comparison of strategies: one table, plots of gain and forgetting, and one HTML file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from ...system.files import write_whole
from ...system.markdown import markdown_table
from ..metrics import SeededDifference, SeededScores
from .page import write_page
from .plots import INK, SERIES, Draw, draw_figure, save_png, to_svg

if TYPE_CHECKING:
    from ..strategies import Outcome

HEAD = ("strategy", "trained", "target WER %", "by seed", "against the baseline", "p", "source WER %", "by seed", "min")
LEGEND_WIDTH = 84  # characters
ENOUGH = 8.0  # effective speakers above which the bootstrap is about right
_PLOTS = {
    "parameters": "Target WER by trained parameters",
    "retention": "Adaptation against forgetting",
    "curves": "Learning curves",
}


def strategy_rows(outcomes: Mapping[str, Outcome], comparisons: Mapping[str, SeededDifference]) -> list[list[str]]:
    """Return the rows of the table, without `HEAD`. The start and the baseline are in no comparison."""
    rows = []
    for name, one in outcomes.items():
        comparison = comparisons.get(name)
        difference, p_value = "", ""
        if comparison is not None:
            low, high = (100 * bound for bound in comparison.wer_interval)
            difference = f"{100 * comparison.wer_difference:+.1f} ({low:+.1f} to {high:+.1f})"
            p_value = f"{comparison.p_value:.3f}"
        rows.append(
            [
                f"{name} (own budget)" if one.own_budget else name,
                f"{one.num_trained:,}",
                _with_interval(one.target),
                _by_seed(one.target),
                difference,
                p_value,
                _with_interval(one.source),
                _by_seed(one.source),
                f"{one.seconds / 60:.1f}" if one.seconds else "",
            ]
        )
    return rows


def few_speakers(target: SeededScores) -> str:
    """Return a warning if there are too few speakers, or too unequal ones. It is empty if there are enough."""
    if target.num_effective >= ENOUGH:
        return ""
    return (
        f"The {target.num_units} speakers (or clips) of the target count like {target.num_effective:.1f} of equal "
        "size, so the intervals are too narrow and the p-values too small."
    )


def strategy_table(rows: Sequence[Sequence[str]]) -> str:
    """Return the table in Markdown."""
    return markdown_table(HEAD, rows)


def write_strategy_report(
    folder: Path,
    *,
    title: str,
    command: str,
    recommendation: str,
    outcomes: Mapping[str, Outcome],
    comparisons: Mapping[str, SeededDifference],
    settings: Mapping[str, Mapping[str, Any]],
    facts: Mapping[str, str],
) -> Path:
    """
    Write strategies.md, a PNG of each plot and index.html into `folder`. Return the path of index.html.

    Args:
        folder: the folder, created if it does not exist.
        title: the title of the page.
        command: the command that repeats the comparison.
        recommendation: the recommended strategy and the reason, as text.
        outcomes: the results by name, in the order of the table. The first one is the model before training.
        comparisons: the comparisons with the baseline on the target, by name.
        settings: the settings of each strategy on top of the common ones, by name.
        facts: name -> text: seeds, splits, budget.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = strategy_rows(outcomes, comparisons)
    write_whole(folder / "strategies.md", strategy_table(rows))
    draws = {"parameters": _against_parameters(outcomes), "retention": _retention(outcomes)}
    if curves := _learning_curves(outcomes):
        draws["curves"] = curves
    below = 2.8 + 0.17 * math.ceil(len(outcomes) / _columns(outcomes))
    heights = {"parameters": 0.8 + 0.2 * len(outcomes), "retention": below, "curves": below}
    figures = {name: draw_figure(draw, heights[name]) for name, draw in draws.items()}
    for name, figure in figures.items():
        save_png(figure, folder / f"{name}.png")
    return write_page(
        folder,
        "strategy_report.html",
        title=title,
        command=command,
        headline=recommendation,
        facts=facts,
        table_head=HEAD,
        table_rows=rows,
        warning=few_speakers(next(iter(outcomes.values())).target),
        settings=settings,
        plots=[Markup(to_svg(figure, _PLOTS[name])) for name, figure in figures.items()],
    )


def _with_interval(scores: SeededScores) -> str:
    low, high = scores.wer_interval
    return f"{100 * scores.wer:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def _by_seed(scores: SeededScores) -> str:
    """Format the WER of each seed. It is empty if all are the same, as for the model before training."""
    wers = scores.wers
    return ", ".join(f"{100 * wer:.1f}" for wer in wers) if len(set(wers)) > 1 else ""


def _against_parameters(outcomes: Mapping[str, Outcome]) -> Draw:
    def draw(axes: Axes) -> None:
        start, *strategies = outcomes.values()
        axes.axvline(100 * start.target.wer, color=SERIES[0], linewidth=1.0, linestyle=":")
        ordered = sorted(strategies, key=lambda one: (one.num_trained, one.target.wer), reverse=True)
        for row, one in enumerate(ordered):
            axes.plot([100 * bound for bound in one.target.wer_interval], [row, row], color=SERIES[0], linewidth=1.2)
            axes.plot(100 * one.target.wer, row, "o", color=SERIES[1], markersize=5)
        labels = [f"{one.name}  {EngFormatter(places=0, sep='')(one.num_trained)}" for one in ordered]
        axes.set_yticks(range(len(ordered)), labels, color=INK, size=8)
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.set_title(_PLOTS["parameters"])
        axes.set_xlabel("WER, % (line: 95 % interval; dotted: start)")

    return draw


def _retention(outcomes: Mapping[str, Outcome]) -> Draw:
    def draw(axes: Axes) -> None:
        points = [(100 * one.source.wer, 100 * one.target.wer) for one in outcomes.values()]
        axes.axvline(points[0][0], color=SERIES[0], linewidth=1.0, linestyle=":")
        axes.axhline(points[0][1], color=SERIES[0], linewidth=1.0, linestyle=":")
        for number, ((x, y), name) in enumerate(zip(points, outcomes, strict=True)):
            label = f"{number}  {name}" if number else f"dotted: {name}"
            axes.plot(x, y, "o", color=SERIES[1 if number else 0], markersize=5, label=label)
            if number:
                axes.annotate(str(number), (x, y), (4, 2), textcoords="offset points", color=INK, size=8)
        _legend(axes, outcomes, handlelength=0)
        axes.set_title(_PLOTS["retention"])
        axes.set_xlabel("source WER, %")
        axes.set_ylabel("target WER, %")
        axes.margins(x=0.1, y=0.15)

    return draw


def _legend(axes: Axes, names: Iterable[str], handlelength: float) -> None:
    """Draw the legend below the axes, where it covers no line."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.legend(
        loc="outside lower left",
        ncols=_columns(names),
        frameon=False,
        labelcolor=INK,
        fontsize=7.5,
        handlelength=handlelength,
        columnspacing=1.2,
    )


def _columns(names: Iterable[str]) -> int:
    """Return how many columns of the legend fit side by side."""
    return max(1, min(3, LEGEND_WIDTH // (max(map(len, names)) + 8)))


def _learning_curves(outcomes: Mapping[str, Outcome]) -> Draw | None:
    """Plot the WER during training if the runs had evaluations, else the loss. A band is the range over the seeds."""
    for key, factor, label in (("eval_wer", 100, "WER of eval_split, %"), ("loss", 1, "training loss")):
        lines = {name: _curve(one.logs, key, factor) for name, one in outcomes.items() if one.logs}
        if lines and all(len(steps) > 1 for steps, _ in lines.values()):
            return _curves(lines, label)
    return None


def _curve(logs: Sequence[Sequence[Mapping[str, Any]]], key: str, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps (N,) that all seeds have logged, and their values (seeds, N)."""
    by_step = [{line["step"]: factor * line[key] for line in log if key in line} for log in logs]
    steps = sorted(set.intersection(*(set(values) for values in by_step)))
    return np.array(steps), np.array([[values[step] for step in steps] for values in by_step])


def _curves(lines: Mapping[str, tuple[np.ndarray, np.ndarray]], label: str) -> Draw:
    def draw(axes: Axes) -> None:
        for index, (name, (steps, values)) in enumerate(lines.items()):
            colour = SERIES[index % len(SERIES)]
            style = ("-", "--", ":", "-.")[index // len(SERIES) % 4]
            axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
            axes.plot(steps, values.mean(axis=0), style, color=colour, label=name)
        _legend(axes, lines, handlelength=2.2)
        axes.set_title(_PLOTS["curves"])
        axes.set_xlabel("step")
        axes.set_ylabel(label)

    return draw
