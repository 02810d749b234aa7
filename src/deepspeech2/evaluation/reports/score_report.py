"""Report the errors of one model on one split, optionally against a baseline: one HTML file and its plots."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..metrics import Comparison, Scores
from .page import interval, interval_note, percent, speakers, write_page
from .plots import (
    draw_figure,
    draw_figures,
    errors_per_utterance,
    save_png,
    to_svg,
    wer_by,
    wer_by_length,
    word_and_character_bars,
)

_NUM_WORST = 30
_NUM_CHANGES = 10
_NUM_CONFUSIONS = 15


def write_score_report(
    folder: Path | str,
    scores: Scores,
    *,
    title: str,
    command: str,
    rtfx: float | None = None,
    comparison: Comparison | None = None,
) -> Path:
    """Report one model on one split in `folder`: index.html, score.png and errors.png.

    Args:
        folder: the folder, created if it does not exist.
        scores: the scores of the model.
        title: the title of the page.
        command: the command that reproduces the scores, as typed.
        rtfx: seconds of audio per second of computing.
        comparison: the comparison of a baseline (a) with this model (b), on the same utterances.

    Returns:
        The path of index.html.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stages = {"baseline": comparison.a, "this model": scores} if comparison else {"this model": scores}
    picture = word_and_character_bars(stages)
    save_png(picture, folder / "score.png")
    panels = [
        ("WER by length", wer_by_length(scores), 2.7),
        ("Word errors per utterance", errors_per_utterance(scores), 2.7),
    ]
    panels += [(f"WER by {column}", *wer_by(column, scores)) for column, of in scores.groups.items() if len(of) > 1]
    tallest = max(height for *_, height in panels)
    save_png(draw_figures([draw for _, draw, _ in panels], height=tallest, columns=3), folder / "errors.png")
    worst = sorted(scores.utterances, key=lambda u: (-u.words.errors, u.words.hits, u.id))
    worst = [utterance for utterance in worst if utterance.words.errors][:_NUM_WORST]
    share = sum(utterance.words.errors for utterance in worst) / max(1, scores.words.errors)
    return write_page(
        folder,
        "score_report.html",
        title=title,
        command=command,
        headline=Markup("WER <b>{} %</b> on {:,} utterances of {}").format(
            percent(scores.wer), scores.num_utterances, speakers(scores)
        ),
        picture=Markup(to_svg(picture, "Word and character error rate with their intervals")),
        interval_note=interval_note(stages.values()),
        figures=_figures(scores, rtfx),
        comparison=comparison and _comparison(comparison),
        plots=[Markup(to_svg(draw_figure(draw, height), name)) for name, draw, height in panels],
        worst=worst,
        worst_note=f"These {len(worst)} utterances have {100 * share:.0f} % of all word errors.",
        confusions=_confusions(scores),
    )


def _figures(scores: Scores, rtfx: float | None) -> list[tuple[str, str, str]]:
    words = max(1, scores.num_words)
    figures = [
        ("WER", f"{percent(scores.wer)} %", interval(scores.wer_interval, "")),
        ("CER", f"{percent(scores.cer)} %", interval(scores.cer_interval, "")),
        ("substituted", f"{scores.substitutions:,}", f"{100 * scores.substitutions / words:.1f} % of words"),
        ("deleted", f"{scores.deletions:,}", f"{100 * scores.deletions / words:.1f} % of words"),
        ("inserted", f"{scores.insertions:,}", f"{100 * scores.insertions / words:.1f} % of words"),
        ("words", f"{scores.num_words:,}", f"{scores.hits:,} correct"),
        ("utterances", f"{scores.num_utterances:,}", speakers(scores)),
        ("audio", f"{scores.audio_s / 60:.1f} min", ""),
    ]
    return figures + ([("RTFx", f"{rtfx:.1f}", "seconds of audio per second")] if rtfx is not None else [])


def _comparison(comparison: Comparison) -> dict[str, Any]:
    points, bounds, unit = 100 * comparison.wer_difference, "", comparison.resampled_by
    if comparison.wer_interval is None:
        verdict = "There are too few utterances to say how much of it is chance"
    elif not all(map(math.isfinite, comparison.wer_interval)):
        verdict = "The interval is unbounded, because a model predicted words where nobody spoke"
    else:
        low, high = comparison.wer_interval
        bounds = f"{_signed(100 * low)} to {_signed(100 * high)}"
        includes, reverse = ("includes", "might") if low <= 0 <= high else ("excludes", "are unlikely to")
        verdict = f"The 95 % interval {includes} zero, so other {unit}s {reverse} reverse it"
    p = ""
    if comparison.p_value is not None:  # the resamples cannot show a smaller p-value
        least = 2 / comparison.bootstrap_samples
        p = f"{comparison.p_value:.3f}" if comparison.p_value > least else f"≤ {least:.3f}"
    changed = sorted(comparison.changes, key=lambda change: change.a.words.errors - change.b.words.errors)
    ends = changed[-_NUM_CHANGES // 2 :][::-1] + changed[: _NUM_CHANGES // 2]
    return {
        "sentence": f"The WER changes by {_signed(points)} points against the baseline. {verdict}.",
        "figures": [
            ("difference", _signed(points), bounds),
            ("words fixed", f"{comparison.fixed:,}", "wrong before, correct now"),
            ("words broken", f"{comparison.broken:,}", "correct before, wrong now"),
            (
                "insertions",
                f"{comparison.b.insertions - comparison.a.insertions:+,}".replace("-", "−"),
                "words that are not in the reference",
            ),
            *([("p", p, "paired bootstrap")] if p else []),
        ],
        "words": [
            ("Fixed most often", comparison.fixed_words().most_common(8)),
            ("Broken most often", comparison.broken_words().most_common(8)),
        ],
        "changes": [change for change in dict.fromkeys(ends) if change.fixed or change.broken],
    }


def _signed(points: float) -> str:
    return f"{points:+.2f}".replace("-", "−")


def _confusions(scores: Scores) -> list[tuple[str, list[str], list[list[str]]]]:
    counts: dict[str, Counter[tuple[str, ...]]]
    counts = {kind: Counter() for kind in ("substitution", "deletion", "insertion")}
    for utterance in scores.utterances:
        for step in utterance.alignment:
            if step.operation != "hit":
                counts[step.operation][tuple(word for word in step[1:] if word)] += 1
    names = {
        "substitution": ("Substituted", ["reference", "hypothesis", "count"]),
        "deletion": ("Deleted", ["reference", "count"]),
        "insertion": ("Inserted", ["hypothesis", "count"]),
    }
    return [
        (*names[kind], [[*words, f"{times:,}"] for words, times in found.most_common(_NUM_CONFUSIONS)])
        for kind, found in counts.items()
    ]
