"""What rejection costs: commands that are lost against what is accepted and is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .plots import MUTED, SERIES, draw_figure

if TYPE_CHECKING:
    from ..rejection import TradeOff


def rejection_curves(curves: Mapping[str, TradeOff]) -> Figure:
    """By name of what is outside; a dot is the threshold that was taken."""

    def draw(axes: Axes) -> None:
        for index, (name, curve) in enumerate(curves.items()):
            colour = SERIES[(index + 1) % len(SERIES)]
            axes.step(100 * curve.accepted, 100 * curve.lost, where="post", color=colour, label=name)
            x, y = curve.chosen
            axes.plot(100 * x, 100 * y, "o", color=colour, markersize=6)
        axes.legend(frameon=False, labelcolor=MUTED, fontsize=8, handlelength=1.2)
        axes.set_xlim(-1, 51)
        axes.set_ylim(-1, 51)
        axes.set_xlabel("accepted of what is outside, % (dot: the threshold)")
        axes.set_ylabel("commands lost or mistaken, %")
        axes.set_title("What rejection costs")

    return draw_figure(draw, height=3.4)
