"""Write HTML pages that need no network, and format figures for them."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from ...system.files import write_whole
from ..metrics import ScoredUtterance, Scores

_MAX_UNBROKEN = 20  # characters; an untrained model predicts words as long as sentences
_LEGEND = Markup(
    '<p class="note"><ruby class="sub">lamp<rt>light</rt></ruby> substituted for the small word above it &ensp; '
    "<del>the</del> deleted &ensp; <ins>now</ins> inserted</p>"
)


def write_page(folder: Path, template: str, **values: Any) -> Path:
    """Render a template of this package to `folder`/index.html. Values that are not `Markup` are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("deepspeech2.evaluation.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"marked": mark_words, "where": _where}
    page = folder / "index.html"
    write_whole(page, environment.get_template(template).render(legend=_LEGEND, **values))
    return page


def mark_words(utterance: ScoredUtterance) -> Markup:
    """Return the hypothesis as escaped HTML, with every error marked."""
    parts = []
    for step in utterance.alignment:
        match step.operation:
            case "hit":
                parts.append(escape(step.hypothesis))
            case "substitution":
                kind = "sub long" if len(step.hypothesis) > _MAX_UNBROKEN else "sub"
                template = Markup('<ruby class="{}">{}<rt>{}</rt></ruby>')
                parts.append(template.format(kind, step.hypothesis, step.reference))
            case "deletion":
                parts.append(Markup("<del>{}</del>").format(step.reference))
            case "insertion":
                parts.append(Markup("<ins>{}</ins>").format(step.hypothesis))
    return Markup(" ").join(parts) or Markup('<i class="nothing">no words, none predicted</i>')


def percent(rate: float) -> str:
    """Format a rate in per cent with two digits, or "∞" if it is infinite."""
    return f"{100 * rate:.2f}" if math.isfinite(rate) else "∞"


def interval(bounds: tuple[float, float] | None, absent: str = "–") -> str:
    """Format a 95 % interval in per cent."""
    return absent if bounds is None else "–".join(percent(bound) for bound in bounds)


def interval_note(scored: Iterable[Scores]) -> str:
    """Return the explanation of the thin lines in the plots."""
    units = {scores.resampled_by for scores in scored} - {"nothing"}
    if not units:
        return "There are no intervals, because nothing was resampled."
    return f"Thin lines are 95 % bootstrap intervals, resampled by {' or '.join(sorted(units))}."


def speakers(scores: Scores) -> str:
    count = scores.num_speakers
    return f"{count:,} speaker{'' if count == 1 else 's'}" if count else "unknown speakers"


def _where(utterance: ScoredUtterance) -> str:
    parts = [utterance.id]
    parts += [f"speaker {utterance.speaker_id}"] if utterance.speaker_id else []
    parts += [f"{utterance.duration_s:.1f} s"] if utterance.duration_s else []
    return " · ".join(parts)
