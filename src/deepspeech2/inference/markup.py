"""The HTML of the demo page: words, captions, differences and commands. What was said is escaped."""

import difflib
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from ..decoding.words import Word
from .captions import Cue
from .voice_commands.recognition import Command

NO_WORDS = "No words were recognised."

# The colours of confidence 0, 0.5 and 1. Dark text is readable on each.
COLOURS = np.array([(232, 128, 116), (243, 222, 140), (150, 208, 152)])


def colour(confidence: float) -> str:
    """Return a CSS colour from red (0) over yellow to green (1)."""
    parts = (np.interp(confidence, (0, 0.5, 1), column) for column in COLOURS.T)
    return "rgb({:.0f}, {:.0f}, {:.0f})".format(*parts)


def words_html(words: Sequence[Word]) -> str:
    """Show each word on the colour of its confidence, with its times as a tooltip."""
    if not words:
        return f'<p class="result">{NO_WORDS}</p>'
    spans = [
        Markup(
            '<span class="word" style="background: {}" title="{:.2f} to {:.2f} s, confidence {:.2f}">{}</span>'
        ).format(colour(word.confidence), word.start_s, word.end_s, word.confidence, word.text)
        for word in words
    ]
    return Markup('<p class="result">{}</p>').format(Markup(" ").join(spans))


def problem_html(text: str) -> str:
    """Show why a recording cannot be transcribed. Screen readers announce it at once."""
    return Markup('<p class="result problem" role="alert">{}</p>').format(text)


def cues_html(cues: Sequence[Cue]) -> str:
    """Show a table row for each cue, with its start, end and lines."""
    rows = [
        Markup('<tr><td class="time">{} – {}</td><td>{}</td></tr>').format(
            clock(cue.start_s), clock(cue.end_s), cue.text
        )
        for cue in cues
    ]
    return Markup('<table class="cues">{}</table>').format(Markup("").join(rows))


def clock(seconds: float) -> str:
    """Format a time as 1:02:03.4 or 2:03.4."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{rest / 10:04.1f}"


def differences_html(first: Sequence[str], second: Sequence[str]) -> str:
    """Show the second text, and mark its insertions and deletions relative to the first."""
    pieces: list[Markup] = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(Markup("{}").format(" ".join(second[k:m])))
            continue
        for tag, words in (("del", first[i:j]), ("ins", second[k:m])):
            if words:
                pieces.append(Markup(f"<{tag}>{{}}</{tag}>").format(" ".join(words)))
    return Markup('<p class="result">{}</p>').format(Markup(" ").join(pieces) or NO_WORDS)


def command_html(command: Command) -> str:
    """Show the command with its values, or the rejection with the most likely command."""
    if not command.accepted:
        nearest = Markup(", most likely <i>{}</i>").format(command.text) if command.best else ""
        return Markup('<p class="result"><b>rejected</b>{}, confidence {:.2f}</p>').format(nearest, command.confidence)
    rows = Markup("").join(
        Markup("<tr><td>{}</td><td><b>{}</b></td></tr>").format(*pair) for pair in command.slots.items()
    )
    return Markup(
        '<p class="result"><b>{}</b>, <i>{}</i>, <span class="word" style="background: {}">confidence {:.2f}</span></p>'
        '<table class="cues">{}</table>'
    ).format(command.name, command.text, colour(command.confidence), command.confidence, rows)
