"""English texts in words, as LibriSpeech writes them."""

import sys

import pytest

from deepspeech2.inference.pseudo_labels.spelling import has_digits, spell_out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Mr. and Mrs. Lynde; well-known!", "mister and missus lynde well known"),
        ("Chapter 17, 1,200 men", "chapter seventeen one thousand two hundred men"),
        ("the 2nd & last ladies’ day", "the second and last ladies' day"),
        ("3.5% of the Café", "three point five percent of the cafe"),
    ],
)
def test_text_is_written_as_librispeech_writes(text, expected):
    pytest.importorskip("num2words", reason="num2words is not installed: pip install num2words==0.5.14")
    assert has_digits(text) == any(digit in text for digit in "0123456789")
    assert spell_out(text) == expected


def test_a_missing_num2words_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "num2words", None)
    with pytest.raises(ImportError, match=r"--spell_out.*pip install -e '.\[commands\]', or leave the option out"):
        spell_out("a")
