"""Cells become transcripts, ids and spans, or a fault that says what came."""

import math

import pytest

from deepspeech2.data.lists.cells import (
    MAX_ID,
    Span,
    are_sentences,
    label,
    short,
    span,
    span_columns,
    transcript,
    with_span,
)
from deepspeech2.data.lists.columns import TEXT_COLUMNS, find_column, first_column
from deepspeech2.system.files import printable


@pytest.mark.parametrize("value", ["yes", " 007 ", "none", "null", "true", "1.5", "['a', 'b']", "&amp; so", ""])
def test_strings_are_transcripts_as_they_are(value):
    assert transcript(value) == (value, "")


@pytest.mark.parametrize("value", [None, math.nan, -math.nan])
def test_a_missing_transcript_is_just_missing(value):
    assert transcript(value) == (None, "")


@pytest.mark.parametrize(
    "value, said",
    [
        (["has", "never"], "is a list, ['has', 'never']; expected a string"),
        (True, "is true or false, True"),
        (7, "is a number, 7"),
        (1.5, "is a number, 1.5"),
        (math.inf, "is a number, inf"),
        ({"a": 1}, "is an object, {'a': 1}"),
        (b"x", "is bytes, b'x'"),
        ("nan", "is 'nan', which programs write for a missing value"),
        (" NaN ", "is 'NaN', which"),
        ("<NA>", "is '<NA>', which"),
        ("#N/A", "is '#N/A', which"),
    ],
)
def test_what_is_no_string_is_no_transcript(value, said):
    text, fault = transcript(value)
    assert text is None and said in fault and len(fault) < 200


def test_a_long_list_is_not_printed_whole():
    assert len(transcript([0.1] * 1_000_000).fault) < 200


@pytest.mark.parametrize("word", ["None", "null", "NULL", "NA", "none"])
def test_words_for_nothing_are_words_in_a_corpus_of_words(word):
    words, sentences = ["one", "two", word], ["this is one", "this is two", word]
    assert transcript(word, are_sentences(words)).text == word
    assert transcript(word, are_sentences(sentences)).text is None
    assert transcript("none of them", True).text == "none of them"


def test_labels():
    assert [label(value) for value in ("007", 7, 1.0, "1.0", True, None, "", math.nan, "nan")] == [
        "007", "7", "1.0", "1.0", "True", None, None, None, "nan",
    ]  # fmt: skip
    long = label("x" * 100_000)
    assert len(long) == MAX_ID and long != label("x" * 100_001) and short(long) == long


def test_names_that_are_not_utf_8_can_be_written():
    names = [b"caf\xe9.wav".decode("utf-8", "surrogateescape"), b"caf\xea.wav".decode("utf-8", "surrogateescape")]
    assert [printable(name) for name in names] == [r"caf\xe9.wav", r"caf\xea.wav"]
    assert printable("café \ud800.wav") == r"café \ud800.wav" and printable("café.wav") == "café.wav"


@pytest.mark.parametrize(
    "row, expected",
    [
        ({"offset": 1.5, "duration": 1.5}, Span(1.5, 3.0)),
        ({"offset": 0.1, "duration": 0.2}, Span(0.1, 0.3)),
        ({"offset": 2, "duration": None}, Span(2, None)),
        ({"offset": 2}, Span(2, None)),
        ({"start": 0, "end": 1}, Span(0, 1)),
        ({"Start": "0,5", "END": " 1.25 "}, Span(0.5, 1.25)),
        ({"start_time": 1, "end_time": 2, "duration": 9}, Span(1, 2)),
        ({"begin": 1, "duration": 2}, Span(1, 3)),
        ({"start": None, "end": 2}, Span(None, 2)),
        ({"start": "", "end": ""}, Span()),
        ({"start": math.nan, "end": math.nan}, Span()),
        ({"duration": 5.0}, Span()),
        ({"start": 3}, Span()),
        ({}, Span()),
    ],
)
def test_spans(row, expected):
    assert span(row, span_columns(list(row))) == (expected, "")


@pytest.mark.parametrize("value", ["00:01:02", "abc", [1], True, {}, math.inf, "1e999"])
def test_times_that_are_none(value):
    row = {"start": 0, "end": value}
    assert "end is" in span(row, span_columns(list(row)))[1]


def test_each_span_has_a_name():
    assert with_span("a.wav", Span()) == "a.wav"
    assert with_span("a.wav", Span(1.5, 3.0)) == "a.wav#t=1.5,3"
    assert with_span("a.wav", Span(12345.678, None)) == "a.wav#t=12345.678"
    assert with_span("a.wav", Span(None, 0.25)) == "a.wav#t=0,0.25"


def test_columns_whatever_their_case():
    assert first_column(["Path", "Sentence"], TEXT_COLUMNS) == "Sentence"
    assert first_column(["SENTENCE ", "Text"], TEXT_COLUMNS) == "Text"
    assert find_column(["Audio File", "My-Text"], "my_text", TEXT_COLUMNS, "it", "text_column") == "My-Text"
    assert find_column(["text", "TEXT"], "TEXT", TEXT_COLUMNS, "it", "text_column") == "TEXT"
    with pytest.raises(ValueError, match="columns 'Text' and 'TEXT' are the same name"):
        first_column(["Text", "TEXT"], TEXT_COLUMNS)
    with pytest.raises(
        ValueError, match=r"its columns are .* and 80 more. Name the right one with text_column"
    ) as error:
        find_column(["x" * 1000] * 100, "text", TEXT_COLUMNS, "it", "text_column")
    assert len(str(error.value)) < 2000
