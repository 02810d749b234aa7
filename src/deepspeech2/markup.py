"""What was heard as HTML for the page: words in the colour of their confidence, cues, two texts side by side.

Whatever a recording or a model says is text, never markup.
"""

import difflib
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from .captions import Cue, Word
from .recognition import Command

STYLE = """
#words, #cues { min-height: 5em; }
.heard { line-height: 2; font-size: 1.05em; }
.heard .word { border-radius: 0.3em; padding: 0.1em 0.25em; color: #20242c; }
.heard del { background: #f3c9c4; color: #20242c; text-decoration: line-through; padding: 0 0.2em; }
.heard ins { background: #cfe6cd; color: #20242c; text-decoration: none; padding: 0 0.2em; }
.heard.problem { border-left: 0.3em solid #c0392b; padding-left: 0.6em; overflow-wrap: anywhere; }
.cues, .cues tr { border-collapse: collapse; border: none !important; }
.cues td { padding: 0.2em 0.8em 0.2em 0; vertical-align: top; white-space: pre-line; border: none !important; }
.cues .time { font-variant-numeric: tabular-nums; opacity: 0.7; white-space: nowrap; }
"""
# Of confidence 0, a half and 1; dark text can be read on each.
COLOURS = np.array([(232, 128, 116), (243, 222, 140), (150, 208, 152)])


def colour(confidence: float) -> str:
    """From red over yellow to green, as CSS."""
    parts = (np.interp(confidence, (0, 0.5, 1), column) for column in COLOURS.T)
    return "rgb({:.0f}, {:.0f}, {:.0f})".format(*parts)


def words_html(words: Sequence[Word]) -> str:
    """Each word on the colour of its confidence; its times are shown where the pointer rests on it."""
    if not words:
        return '<p class="heard">No words were heard.</p>'
    spans = [
        Markup(
            '<span class="word" style="background: {}" title="{:.2f} to {:.2f} s, confidence {:.2f}">{}</span>'
        ).format(colour(word.confidence), word.start_s, word.end_s, word.confidence, word.text)
        for word in words
    ]
    return Markup('<p class="heard">{}</p>').format(Markup(" ").join(spans))


def problem_html(text: str) -> str:
    """Why nothing was heard; screen readers say it at once."""
    return Markup('<p class="heard problem" role="alert">{}</p>').format(text)


def cues_html(cues: Sequence[Cue]) -> str:
    """A row for each cue: from when to when, and its lines."""
    rows = [
        Markup('<tr><td class="time">{} – {}</td><td>{}</td></tr>').format(
            clock(cue.start_s), clock(cue.end_s), cue.text
        )
        for cue in cues
    ]
    return Markup('<table class="cues">{}</table>').format(Markup("").join(rows))


def clock(seconds: float) -> str:
    """1:02:03.4 or 2:03.4."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{rest / 10:04.1f}"


def differences_html(first: Sequence[str], second: Sequence[str]) -> str:
    """The second text; what it has instead of, or beside the first one is marked, and so is what it lacks."""
    pieces: list[Markup] = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(Markup("{}").format(" ".join(second[k:m])))
            continue
        for tag, words in (("del", first[i:j]), ("ins", second[k:m])):
            if words:
                pieces.append(Markup(f"<{tag}>{{}}</{tag}>").format(" ".join(words)))
    return Markup('<p class="heard">{}</p>').format(Markup(" ").join(pieces) or "No words were heard.")


def command_html(command: Command) -> str:
    """The command with its values, or that it was rejected and what would have been likeliest."""
    if not command.accepted:
        nearest = Markup("; the likeliest is <i>{}</i>").format(command.text) if command.best else ""
        return Markup('<p class="heard"><b>rejected</b>{}, confidence {:.2f}</p>').format(nearest, command.confidence)
    rows = Markup("").join(
        Markup("<tr><td>{}</td><td><b>{}</b></td></tr>").format(*pair) for pair in command.slots.items()
    )
    return Markup(
        '<p class="heard"><b>{}</b>, <i>{}</i>, <span class="word" style="background: {}">confidence {:.2f}</span></p>'
        '<table class="cues">{}</table>'
    ).format(command.name, command.text, colour(command.confidence), command.confidence, rows)
