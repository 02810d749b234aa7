"""Report the problems of a corpus: a table for the terminal, and one HTML file."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ...system.characters import describe_character
from .page import write_page
from .plots import MUTED, SERIES, Draw, draw_figure, to_svg

_NUM_LISTED = 30
_NUM_EXAMPLES = 3
_SHORT = 24  # characters
_MAX_WIDTH = 40  # characters of an id in the table


@dataclass(frozen=True)
class Problem:
    """
    One kind of problem in one split.

    Args:
        severity: "fatal", "warning" or "note".
        name: the kind of problem.
        split: the name of the split.
        share: the share of the utterances of the split; None if a share makes no sense.
        advice: what to do.
        entries: ids with details, the worst first.
    """

    severity: str
    name: str
    split: str
    share: float | None
    advice: str
    entries: Sequence[tuple[str, str]]


def problems_table(problems: Sequence[Problem]) -> str:
    """Format the problems as text: severity, name, split, count, share and examples, then the advice."""
    rows = [["", "problem", "split", "count", "share", "examples"]]
    for problem in problems:
        examples = ", ".join(_example(*entry) for entry in problem.entries[:_NUM_EXAMPLES])
        more = ", ..." if len(problem.entries) > _NUM_EXAMPLES else ""
        count = f"{len(problem.entries):,}"
        rows.append([problem.severity, problem.name, problem.split, count, _percent(problem), examples + more])
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        " ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[5]]) for row in rows
    ]
    advice = {problem.name: problem.advice for problem in problems}
    return "\n".join([*lines, "", *(f"{name}: {text}" for name, text in advice.items())])


def _example(name: str, detail: str) -> str:
    """Format an id, with its detail if that is short."""
    return _printable(f"{name} ({detail})" if 0 < len(detail) <= _SHORT else name)


def write_check_report(
    folder: Path | str,
    *,
    title: str,
    command: str,
    headline: str,
    facts: Mapping[str, str],
    durations_s: Mapping[str, Sequence[float]],
    unknown: Mapping[str, int],
    problems: Sequence[Problem],
) -> Path:
    """
    Write `folder`/index.html, and return its path.

    Args:
        folder: the folder, created if it does not exist.
        title, headline: the title of the page, and the line below it.
        command: the command that repeats the check, as typed.
        facts: name -> text: counts, costs.
        durations_s: the durations of the recordings of each split, in seconds.
        unknown: characters that the vocabulary lacks, with their counts.
        problems: the problems, the worst first.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return write_page(
        folder,
        "check_report.html",
        title=title,
        command=command,
        headline=headline,
        facts=facts,
        plots=[
            Markup(to_svg(draw_figure(_histogram(split, lengths)), f"Durations: {split}"))
            for split, lengths in durations_s.items()
            if len(lengths)
        ],
        unknown=[(describe_character(one), count) for one, count in Counter(unknown).most_common()],
        problems=[(problem, _percent(problem), problem.entries[:_NUM_LISTED]) for problem in problems],
    )


def _histogram(split: str, durations_s: Sequence[float]) -> Draw:
    def draw(axes: Axes) -> None:
        axes.hist(durations_s, bins=min(30, max(5, round(np.sqrt(len(durations_s))))), color=SERIES[1])
        axes.set_title(f"Durations: {split}")
        axes.set_xlabel(f"seconds ({len(durations_s):,} recordings, {sum(durations_s) / 3600:.2f} h)", color=MUTED)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))

    return draw


def _percent(problem: Problem) -> str:
    return "" if problem.share is None else f"{100 * problem.share:.1f} %"


def _printable(name: str) -> str:
    """Return an id without control characters, cut to the width of the table."""
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)
    return shown if len(shown) <= _MAX_WIDTH else f"…{shown[1 - _MAX_WIDTH :]}"
