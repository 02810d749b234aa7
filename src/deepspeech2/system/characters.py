"""Characters in messages: those that cannot be seen are shown by code point and name."""

import unicodedata
from collections import Counter
from collections.abc import Mapping

UNNAMED = {"Cc": "control character", "Co": "private use", "Cs": "surrogate"}
BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols without a shape: Hangul fillers, an empty Braille cell


def describe_character(character: str) -> str:
    """Return a character in quotation marks, or as code point and name if it cannot be seen, or not on its own."""
    category = unicodedata.category(character)
    if character == " " or (category[0] not in "CMZ" and character not in BLANK):
        return repr(character)
    return f"U+{ord(character):04X} {unicodedata.name(character, UNNAMED.get(category, 'unassigned'))}"


def describe_counts(counts: Mapping[str, int], most: int | None = None) -> str:
    """Return characters with their counts, commonest first, such as `'é' x3, U+200B ZERO WIDTH SPACE x1`."""
    return ", ".join(f"{describe_character(one)} x{count}" for one, count in Counter(counts).most_common(most))
