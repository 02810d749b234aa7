"""Write words and cues as SRT, WebVTT, plain text and JSON."""

import html
import json
from collections.abc import Sequence

from ...decoding.words import Word
from .cues import LONG_PAUSE_S, Cue

FORMATS = ("srt", "vtt", "txt", "json")


def to_srt(cues: Sequence[Cue]) -> str:
    """Return the cues as SubRip, which nearly every player reads: numbered, with decimal commas."""
    blocks = [
        f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n{cue.text.replace('-->', '→')}\n"
        for number, cue in enumerate(cues, 1)
    ]
    return "\n".join(blocks)


def to_vtt(cues: Sequence[Cue]) -> str:
    """Return the cues as WebVTT (W3C), with &, < and > escaped."""
    blocks = [
        f"{_clock(cue.start_s, '.')} --> {_clock(cue.end_s, '.')}\n{html.escape(cue.text, quote=False)}\n"
        for cue in cues
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def to_txt(words: Sequence[Word]) -> str:
    """Return the words as plain text, with a new line after each pause of a second or more."""
    parts = []
    for word, after in zip(words, [*words[1:], None], strict=False):
        paused = after is None or after.start_s - word.end_s >= LONG_PAUSE_S
        parts.append(word.text + ("\n" if paused else " "))
    return "".join(parts)


def to_json(words: Sequence[Word], cues: Sequence[Cue], facts: dict[str, object]) -> str:
    """
    Return JSON with `facts`, the text, the words with times and confidences, and the cues. Times are seconds, rounded
    to milliseconds.
    """
    content = {
        **facts,
        "text": " ".join(word.text for word in words),
        "words": [
            {
                "text": w.text,
                "start_s": round(w.start_s, 3),
                "end_s": round(w.end_s, 3),
                "confidence": round(w.confidence, 4),
            }
            for w in words
        ],
        "cues": [cue_entry(cue) for cue in cues],
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def cue_entry(cue: Cue) -> dict[str, object]:
    """Return a cue for JSON."""
    return {"start_s": round(cue.start_s, 3), "end_s": round(cue.end_s, 3), "text": cue.text}


def _clock(time_s: float, point: str) -> str:
    """Format a time as HH:MM:SS and milliseconds. From 100 hours on the hours have three digits."""
    minutes, milliseconds = divmod(round(time_s * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


def caption_files(words: Sequence[Word], cues: Sequence[Cue], about: dict[str, object]) -> dict[str, str]:
    """Return the contents of a recording's files, by format of `FORMATS`. `about` goes into the JSON."""
    return dict(zip(FORMATS, (to_srt(cues), to_vtt(cues), to_txt(words), to_json(words, cues, about)), strict=True))
