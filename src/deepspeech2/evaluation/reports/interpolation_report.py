"""Report the models interpolated between two others: one table and one plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from ...system.files import write_whole
from ...system.markdown import markdown_table
from ..metrics import Scores
from .page import interval, percent
from .plots import MUTED, SERIES, draw_figure, save_png


@dataclass(frozen=True)
class Point:
    """The scores of an interpolated model. `share` is 0 at the start and 1 at the fine-tuned model."""

    share: float
    target: Scores
    source: Scores

    @property
    def mean_wer(self) -> float:
        return (self.target.wer + self.source.wer) / 2


def best_point(points: Sequence[Point]) -> Point:
    """Return the point with the lowest mean of target and source WER, or of equal ones the nearest to the start."""
    return min(points, key=lambda one: (one.mean_wer, one.share))


def interpolation_table(points: Sequence[Point], chosen: Point) -> str:
    """Return the table in Markdown, with a row for each share and the chosen one in bold."""
    rows = []
    for one in points:
        rates = [f"{percent(of.wer)} ({interval(of.wer_interval)})" for of in (one.target, one.source)]
        cells = [f"{one.share:g}", *rates, percent(one.mean_wer)]
        rows.append([f"**{cell}**" if one is chosen else cell for cell in cells])
    return markdown_table(["interpolation (alpha)", "target WER %", "source WER %", "mean WER %"], rows, left=0)


def write_interpolation_report(folder: Path, points: Sequence[Point], chosen: Point, command: str) -> Path:
    """
    Write interpolation.md and interpolation.png into `folder`. Return the path of interpolation.md.

    Args:
        folder: an existing folder.
        points: the points, ordered by share.
        chosen: one of the points.
        command: the command that repeats the experiment.
    """
    shares = [one.share for one in points]

    def draw(axes: Axes) -> None:
        for name, colour in (("target", SERIES[1]), ("source", SERIES[2])):
            scores = [getattr(one, name) for one in points]
            bounds = [of.wer_interval or (of.wer, of.wer) for of in scores]
            low, high = ([100 * pair[side] for pair in bounds] for side in (0, 1))
            axes.fill_between(shares, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(shares, [100 * of.wer for of in scores], "o-", color=colour, markersize=4, label=name)
        axes.axvline(chosen.share, color=SERIES[0], linewidth=1.2)
        axes.legend(frameon=False, labelcolor=MUTED, fontsize=8.5, loc="best", handlelength=1.2)
        axes.set_title("From the start (0) to the fine-tuned model (1)")
        axes.set_xlabel("interpolation (line: chosen; bands: 95 % intervals)")
        axes.set_ylabel("WER, %")

    save_png(draw_figure(draw, height=3.2), folder / "interpolation.png")
    path = folder / "interpolation.md"
    write_whole(path, f"`{command}`\n\n{interpolation_table(points, chosen)}")
    return path
