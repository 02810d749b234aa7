"""Characters in messages."""

import pytest

from deepspeech2.system.characters import describe_character, describe_counts


@pytest.mark.parametrize(
    "character, shown",
    [
        ("é", "'é'"),
        (" ", "' '"),
        ("\u200b", "U+200B ZERO WIDTH SPACE"),
        ("\u0307", "U+0307 COMBINING DOT ABOVE"),
        ("\u00a0", "U+00A0 NO-BREAK SPACE"),
        ("\u3164", "U+3164 HANGUL FILLER"),
        ("\u2800", "U+2800 BRAILLE PATTERN BLANK"),
        ("\ufe0f", "U+FE0F VARIATION SELECTOR-16"),
        ("\x07", "U+0007 control character"),
        ("\ue000", "U+E000 private use"),
        ("\udce9", "U+DCE9 surrogate"),
    ],
)
def test_what_cannot_be_seen_is_named(character: str, shown: str) -> None:
    assert describe_character(character) == shown


def test_the_commonest_first() -> None:
    assert describe_counts({"\u200b": 1, "é": 3}) == "'é' x3, U+200B ZERO WIDTH SPACE x1"
    assert describe_counts({"\u200b": 1, "é": 3}, 1) == "'é' x3"
