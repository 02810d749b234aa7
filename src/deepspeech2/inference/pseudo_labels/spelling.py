"""English texts as LibriSpeech writes them: numbers, titles and signs in words."""

import re
import unicodedata

TITLES = {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint"}


def spell_out(text: str) -> str:
    """
    Write an English text in lower-case letters and apostrophes alone: numbers, titles, `&` and `%` in words, letters
    without accents, no punctuation.

    Raises:
        ImportError: num2words is not installed.
    """
    try:
        from num2words import num2words
    except ImportError as error:
        raise ImportError(
            "--spell_out writes numbers in words by num2words: pip install -e '.[commands]', or leave the option out"
        ) from error
    text = unicodedata.normalize("NFKD", text.lower().replace("’", "'").replace("&", " and ").replace("%", " percent "))
    text = "".join(character for character in text if not unicodedata.combining(character))
    text = re.sub(r"(\d),(?=\d{3})", r"\1", text)
    text = re.sub(r"([0-9]+)(st|nd|rd|th)\b", lambda match: num2words(int(match[1]), to="ordinal"), text)
    text = re.sub(r"[0-9]+\.[0-9]+", lambda match: f" {num2words(match[0])} ", text)
    text = re.sub(r"[0-9]+", lambda match: f" {num2words(int(match[0]))} ", text)
    text = re.sub(r"\b(mrs|mr|dr|st)\b\.?", lambda match: TITLES[match[1]], text)
    return " ".join(re.sub(r"[^a-z']+", " ", text).split())


def has_digits(text: str) -> bool:
    return any(character.isdigit() for character in text)
