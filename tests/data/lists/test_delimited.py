"""No row of a table vanishes and no cell changes, whatever separates the cells and however they are quoted."""

import csv
import io
import random

import pytest

from deepspeech2.data.lists.columns import KNOWN
from deepspeech2.data.lists.delimited import Delimited, read_delimited
from deepspeech2.data.lists.places import is_recording


def read(text: str, suffix: str = ".csv") -> Delimited:
    return read_delimited(text, suffix, KNOWN, is_recording)


def rows(text: str, suffix: str = ".csv") -> list[list[str]]:
    return read(text, suffix).rows


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(suffix, end, delimiter):
    """Also where the texts are full of the other ones."""
    lines = [
        ("path", "sentence", "age"),
        ("a.wav", "one", "9"),
        ("b.wav", "two; or: three" if delimiter != ";" else "2", "9"),
    ]
    table = read(end.join(delimiter.join(line) for line in lines) + end, suffix)
    assert (table.delimiter, table.columns) == (delimiter, list(lines[0]))
    assert table.rows == [list(line) for line in lines[1:]]


def test_a_header_with_another_delimiter_in_a_name():
    table = read("path;sentence;age,years\na.wav;yes, it is;4\nb.wav;no;5\n")
    assert table.columns == ["path", "sentence", "age,years"]
    assert table.rows == [["a.wav", "yes, it is", "4"], ["b.wav", "no", "5"]]


@pytest.mark.parametrize("delimiter", [";", "|", "\t"])
def test_columns_of_unknown_names_are_separated_by_what_all_lines_have(delimiter):
    lines = [("wavfile", "said"), ("a.wav", "yes, sir"), ("b.wav", "no"), ("c.wav", "one, two, three")]
    table = read_delimited("\n".join(delimiter.join(line) for line in lines), ".csv", KNOWN, lambda cell: False)
    assert [table.columns, *table.rows] == [list(line) for line in lines]


def test_hints_comments_and_delimiters_at_the_end():
    assert rows('sep=;\npath;text\na.wav;"x, y"\n') == [["a.wav", "x, y"]]
    assert rows("\ufeffsep=|\npath|text\na.wav|x\n") == [["a.wav", "x"]]
    table = read("# a list\n#\n\npath,text\n# of two\na.wav,x\n\n#b.wav,y\n")
    assert table.rows == [["a.wav", "x"], ["#b.wav", "y"]], "a row that looks like one is kept"
    assert table.comments == 3
    assert read("# path,text\na.wav,x\n").columns == ["path", "text"]
    assert rows("path,text\na.wav,x,\nb.wav,y,,\n") == [["a.wav", "x"], ["b.wav", "y"]]
    assert read("path,text,\na.wav,x,\n").rows == [["a.wav", "x", ""]]


def test_rows_that_are_too_short_are_kept():
    assert rows("path,text,age\na.wav\nb.wav,y\n") == [["a.wav"], ["b.wav", "y"]]


@pytest.mark.parametrize("at", [0, 2, 4])
@pytest.mark.parametrize("later", ["", '"'])
def test_an_open_quotation_mark_swallows_no_row(at, later):
    """At the beginning of a cell, with a later one or none: csv.reader takes all rows up to it into one cell."""
    texts = ["one", "two", "three", "four", "five", "six"]
    texts[at] = f'"{texts[at]}'
    texts[5] += later
    table = read("path,text\n" + "".join(f"{name}.wav,{text}\n" for name, text in zip("abcdef", texts, strict=True)))
    assert [row[0] for row in table.rows] == [f"{name}.wav" for name in "abcdef"]
    assert [row[1].strip('"') for row in table.rows] == ["one", "two", "three", "four", "five", "six"]
    assert table.literal == [at + 2]


def test_an_open_quotation_mark_in_a_table_without_names_of_files():
    assert rows('id,text\nu1,"he said\nu2,and she\nu3,yes"\n') == [
        ["u1", '"he said'],
        ["u2", "and she"],
        ["u3", 'yes"'],
    ]


def test_rows_that_a_quotation_mark_may_hold_are_not_guessed():
    """Without names of files, a row of three cells and a text of two lines may look the same."""
    with pytest.raises(
        ValueError, match="line 2 opens a quotation mark that line 3 closes, but the lines between may be"
    ):
        rows('id,text,speaker\nu1,"a,s1\nu2,b",s2\n')
    assert rows('id\ttext\tspeaker\nu1\t"\ts1\nu2\tb"\ts2\n', ".tsv") == [["u1", '"', "s1"], ["u2", 'b"', "s2"]]
    assert rows('id,text,speaker\nu1,"a\nb",s1\n') == [["u1", "a\nb", "s1"]]


@pytest.mark.parametrize(
    "line, cells",
    [
        ('a.wav,"he said ""no"" to me"', ["a.wav", 'he said "no" to me']),
        ('a.wav,he said "no" to me', ["a.wav", 'he said "no" to me']),
        ('a.wav, "one, two"', ["a.wav", "one, two"]),
        ('"a.wav","one"', ["a.wav", "one"]),
        ('a.wav,"no" he said', ["a.wav", '"no" he said']),
        (r'a.wav,"he said \"no\", twice"', ["a.wav", 'he said "no", twice']),
        ('a.wav,"he said, no', ["a.wav", "he said, no"]),
        ('a.wav,5" pipe', ["a.wav", '5" pipe']),
    ],
)
def test_quotation_marks_in_a_line(line, cells):
    assert rows(f"path,text\n{line}\nb.wav,next\n") == [cells, ["b.wav", "next"]]


def test_a_line_that_cannot_be_told_is_refused_by_its_number():
    with pytest.raises(ValueError, match=r"line 3 has a quotation mark that does not close"):
        rows('path,text\na.wav,x\nb.wav,"yes, please" he said, twice\n')
    with pytest.raises(
        ValueError, match=r"line 2 has 3 cells, but the header has 2 \(path, text\), separated by commas"
    ):
        rows("path,text\na.wav,x, y\n")


def test_a_cell_over_several_lines_is_one_cell():
    assert rows('path,text\na.wav,"one\ntwo, too\n\nthree"\nb.wav,"x"\n') == [
        ["a.wav", "one\ntwo, too\n\nthree"],
        ["b.wav", "x"],
    ]
    assert rows('text,path\n"one\ntwo",a.wav\nx,b.wav\n') == [["one\ntwo", "a.wav"], ["x", "b.wav"]]
    assert rows('path\ttext\na.wav\t"one\ntwo"\nb.wav\tx\n', ".tsv") == [["a.wav", "one\ntwo"], ["b.wav", "x"]]


def test_what_csv_writes_comes_back():
    """Of random cells with quotation marks, delimiters and line ends, written by Python's csv with all its styles."""
    rng = random.Random(0)
    for trial in range(300):
        texts = ["".join(rng.choices("ab ,;|\t\"\n'", k=rng.randint(0, 12))).strip() for _ in range(4)]
        cells = [["path", "text"], *([f"{name}.wav", text] for name, text in zip("abcd", texts, strict=True))]
        file = io.StringIO()
        style = {"quoting": rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])}
        csv.writer(file, delimiter=rng.choice(",;\t|"), lineterminator=rng.choice(["\n", "\r\n"]), **style).writerows(
            cells
        )
        found = read(file.getvalue())
        assert [row + [""] * (2 - len(row)) for row in found.rows] == cells[1:], (trial, file.getvalue())


def test_lists_without_a_header():
    assert read("a.wav,a.txt\nb.wav,b.txt\n").columns == ["audio", "txt_path"]
    assert read("a.wav,one\nb.wav,two\n").columns == ["audio", "text"]
    assert read("a.wav\nb.wav\n").columns == ["audio"]
    assert read("one,a.wav\ntwo,b.wav\n").columns == ["text", "audio"]
    for command in ("text", "path", "id"):  # which a header could have
        table = read(f"a.wav,{command}\nb.wav,stop\n")
        assert table.columns == ["audio", "text"] and table.rows == [["a.wav", command], ["b.wav", "stop"]]
    spoken = [
        ("it costs $5.", "it costs five dollars"),
        ("The year 1999", "the year nineteen ninety nine"),
        ("Mr. Lee is here", ""),
    ]
    table = read("".join(f"{name}.wav|{raw}|{plain}\n" for name, (raw, plain) in zip("abc", spoken, strict=True)))
    assert table.columns == ["audio", "unnormalised", "text"] and len(table.rows) == 3
    assert [row[2] for row in table.rows] == [
        "it costs five dollars",
        "the year nineteen ninety nine",
        "Mr. Lee is here",
    ]
    for line in ("a.wav|ann|it is late\nb.wav|bob|so it is\n", "a.wav,x,y,z\n"):
        with pytest.raises(ValueError, match=r"there is no header, and the columns .* cannot be told apart: a.wav, "):
            read(line)


def test_a_column_that_occurs_twice():
    with pytest.raises(ValueError, match="has the column 'text' more than once"):
        read("path,text,text\na.wav,x,y\n")
    assert read("path,text,note,note\na.wav,x,y,z\n").rows == [["a.wav", "x", "y", "z"]]
    assert read("path,text,,\na.wav,x,y,z\n").rows == [["a.wav", "x", "y", "z"]]


def test_tables_without_rows():
    assert rows("") == rows("\n\n") == rows("path,text\n") == rows("# nothing\n") == []
