"""Captions: words with times to cues, cues to SRT, WebVTT, plain text and JSON, and the captions of others to cues."""

from .confidence import MIN_CONFIDENCE, Unsure, leave_out_unsure
from .cues import Cue, Limits, break_lines, make_cues, too_fast
from .formats import FORMATS, caption_files, cue_entry, to_json, to_srt, to_txt, to_vtt
from .reading import Captions, LeftOut, find_captions, parse_captions, read_captions

__all__ = [
    "FORMATS",
    "MIN_CONFIDENCE",
    "Captions",
    "Cue",
    "LeftOut",
    "Limits",
    "Unsure",
    "break_lines",
    "caption_files",
    "cue_entry",
    "find_captions",
    "leave_out_unsure",
    "make_cues",
    "parse_captions",
    "read_captions",
    "to_json",
    "to_srt",
    "to_txt",
    "to_vtt",
    "too_fast",
]
