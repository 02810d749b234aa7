"""Plots for choosing settings: WER over alpha and beta, reliability of confidences, rejection curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .plots import GRID, INK, MUTED, SERIES, draw_figure


def heat_map(alphas: Sequence[float], betas: Sequence[float], wers: np.ndarray) -> Figure:
    """
    Plot the WER over alpha and beta as a heat map with numbers. The lowest WER is framed.

    Args:
        alphas: language model weights, the rows.
        betas: word insertion bonuses, the columns.
        wers: (alphas, betas), fractions.
    """

    def draw(axes: Axes) -> None:
        colours = LinearSegmentedColormap.from_list("wer", [SERIES[1], "#ffffff"])
        axes.imshow(100 * wers, cmap=colours, aspect="auto", origin="lower", alpha=0.75)
        best = np.unravel_index(int(wers.argmin()), wers.shape)
        for (row, column), wer in np.ndenumerate(wers):
            weight = "bold" if (row, column) == best else "normal"
            axes.text(column, row, f"{100 * wer:.1f}", ha="center", va="center", color=INK, size=8, weight=weight)
        axes.add_patch(Rectangle((best[1] - 0.5, best[0] - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=1.5))
        axes.set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas])
        axes.set_yticks(range(len(alphas)), [f"{alpha:g}" for alpha in alphas])
        axes.grid(False)
        axes.set_xlabel("word insertion bonus (beta)")
        axes.set_ylabel("language model weight (alpha)")
        axes.set_title("WER, %")

    return draw_figure(draw, height=0.6 + 0.34 * max(5, len(alphas)))


def reliability_diagram(lines: Mapping[str, Sequence[tuple[int, float, float]]]) -> Figure:
    """
    Plot the share of correct words against their confidence. On the diagonal, confidences are calibrated.

    Args:
        lines: name -> bins of (count, confidence, accuracy). The area of a point is the share of words in its bin.
    """

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1.5)
        for index, (name, bins) in enumerate(lines.items()):
            counts, confidences, accuracies = (np.array(values) for values in zip(*bins, strict=True))
            colour = SERIES[index % len(SERIES)]
            axes.plot(confidences, accuracies, color=colour, linewidth=1.2, label=name)
            axes.scatter(confidences, accuracies, s=6 + 240 * counts / counts.sum(), color=colour, linewidths=0)
        axes.legend(frameon=False, labelcolor=MUTED, fontsize=8, loc="upper left", handlelength=1.2)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("confidence of a word")
        axes.set_ylabel("share of correct words")
        axes.set_title("Reliability of word confidences")

    return draw_figure(draw, height=3.6)


def rejection_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray, tuple[float, float]]]) -> Figure:
    """
    Plot the share of rejected commands against the share of accepted out-of-grammar speech.

    Args:
        curves: by name of the out-of-grammar speech: (N,) shares of it that are accepted, (N,) shares of the commands
            that are rejected or misrecognised, and both at the chosen threshold.
    """

    def draw(axes: Axes) -> None:
        for index, (name, (accepted, lost, chosen)) in enumerate(curves.items()):
            colour = SERIES[(index + 1) % len(SERIES)]
            axes.step(100 * accepted, 100 * lost, where="post", color=colour, label=name)
            x, y = chosen
            axes.plot(100 * x, 100 * y, "o", color=colour, markersize=6)
        axes.legend(frameon=False, labelcolor=MUTED, fontsize=8, handlelength=1.2)
        axes.set_xlim(-1, 51)
        axes.set_ylim(-1, 51)
        axes.set_xlabel("accepted out-of-grammar speech, % (dot: the threshold)")
        axes.set_ylabel("rejected or misrecognised commands, %")
        axes.set_title("Cost of rejection")

    return draw_figure(draw, height=3.4)
