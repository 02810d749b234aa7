"""Pseudo-labels: written as LibriSpeech's transcripts are, and the packages named where they are missing."""

import sys

import pytest
from whisper import Whisper, normalize


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Mr. and Mrs. Lynde; well-known!", "mister and missus lynde well known"),
        ("Chapter 17, 1,200 men", "chapter seventeen one thousand two hundred men"),
        ("the 2nd & last ladies’ day", "the second and last ladies' day"),
    ],
)
def test_text_is_written_as_librispeech_writes(text, expected):
    pytest.importorskip("num2words", reason="num2words is not installed: pip install num2words==0.5.14")
    assert normalize(text) == expected


def test_packages_that_are_missing_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ImportError, match=r"pip install faster-whisper==1\.2\.1 num2words==0\.5\.14"):
        Whisper()
