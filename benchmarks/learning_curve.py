"""
What it would take: the WER of a run by step, and the power law through it, on to a target.

    python benchmarks/learning_curve.py outputs/starter/run --target 55 --last_step 16000

The law is fitted to the evaluations between the two steps, by least squares of the logarithms: choose a stretch of
constant learning rate. It holds for the same data and schedule, if for those. Writes RUN/curve.png.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from deepspeech2.evaluation.reports.plots import INK, MUTED, SERIES, draw_figure, save_png


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run, or a checkpoint")
    parser.add_argument("--target", type=float, default=55.0, help="WER, %% (default: %(default)s)")
    parser.add_argument("--first_step", type=int, default=4000, help="(default: %(default)s)")
    parser.add_argument("--last_step", type=int, default=None, help="(default: the last)")
    args = parser.parse_args()
    log = json.loads((args.run / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    steps, wers = np.array([(line["step"], 100 * line["eval_wer"]) for line in log if "eval_wer" in line]).T
    fitted = (steps >= args.first_step) & (steps <= (args.last_step or steps[-1]))
    exponent, factor, needed = power_law(steps[fitted], wers[fitted], args.target)
    reached = f"{args.target:g} after some {needed:,.0f} steps"
    print(f"WER = {factor:.0f} % x steps^{exponent:.3f}: {reached}")

    def draw(axes: Axes) -> None:
        onward = np.geomspace(args.first_step, max(needed, steps[-1]), 50)
        axes.plot(onward, factor * onward**exponent, color=MUTED, linestyle="--", linewidth=1)
        axes.plot(steps, wers, color=SERIES[1], marker="o", markersize=3)
        axes.annotate(f"{wers[-1]:.1f}", (steps[-1], wers[-1]), (0, 6), textcoords="offset points", color=INK)
        axes.annotate(
            reached,
            (needed, args.target),
            (-4, -12),
            textcoords="offset points",
            ha="right",
            color=MUTED,
        )
        axes.set_xscale("log")
        axes.set_ylim(bottom=0, top=100)
        axes.set_title("WER on the validation split, %")
        axes.set_xlabel("optimizer steps (dashed: the power law through them)")
        axes.set_xticks(ticks := [1000, 2000, 5000, 10000, 20000, 50000], [f"{tick:,}" for tick in ticks])
        axes.set_xlim(0.9 * steps[0], 1.2 * max(needed, steps[-1]))
        axes.minorticks_off()

    print(save_png(draw_figure(draw), args.run / "curve.png"))


def power_law(steps: np.ndarray, wers: np.ndarray, target: float) -> tuple[float, float, float]:
    """
    Exponent and factor of wer = factor * steps ** exponent, and the steps, to two digits, at which it is `target`.

    Raises SystemExit where fewer than three evaluations, or a rising curve, give no law.
    """
    if steps.size < 3:
        raise SystemExit(f"{steps.size} evaluations between --first_step and --last_step; expected at least 3")
    exponent, intercept = np.polyfit(np.log(steps), np.log(wers), 1)
    if exponent >= 0:
        raise SystemExit("the WER does not fall between --first_step and --last_step; there is no curve to follow")
    needed = float((target / np.exp(intercept)) ** (1 / exponent))
    return float(exponent), float(np.exp(intercept)), float(f"{needed:.1e}")


if __name__ == "__main__":
    main()
