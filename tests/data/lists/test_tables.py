"""Files of lists in the shapes and encodings that programs write."""

import gzip
import json

import pytest

from deepspeech2.data.lists.columns import KNOWN
from deepspeech2.data.lists.places import is_recording
from deepspeech2.data.lists.tables import Table, read_table

ROWS = [{"audio": "a.wav", "text": "one"}, {"audio": "b.wav", "text": "twö", "id": 7}]
LINES = "\n".join(map(json.dumps, ROWS))


def read(path) -> Table:
    return read_table(path, KNOWN, is_recording)


def read_text(tmp_path, text: str | bytes, name: str) -> Table:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(tmp_path / name)


@pytest.mark.parametrize("name", ["list.json", "list.jsonl", "list.JSON", "list.JsonL"])
@pytest.mark.parametrize(
    "text", [json.dumps(ROWS), json.dumps(ROWS, indent=1), LINES, f"\ufeff{LINES}\n\n", LINES.replace("\n", "\r\n")]
)
def test_lists_of_objects_and_json_lines_under_either_name(tmp_path, name, text):
    assert read_text(tmp_path, text, name).rows == ROWS


def test_objects_over_several_lines(tmp_path):
    assert read_text(tmp_path, "\n".join(json.dumps(row, indent=2) for row in ROWS), "list.jsonl").rows == ROWS


@pytest.mark.parametrize(
    "content, rows",
    [
        (ROWS[0], ROWS[:1]),
        ({"data": ROWS, "version": 1}, ROWS),
        ({"u1": ROWS[0], "u2": {"audio": "c.wav"}}, [{"id": "u1", **ROWS[0]}, {"id": "u2", "audio": "c.wav"}]),
        ({"x": {"audio": "c.wav", "ID": "own"}}, [{"audio": "c.wav", "ID": "own"}]),
        (
            {"audio": ["a.wav", "b.wav"], "text": ["x", None]},
            [{"audio": "a.wav", "text": "x"}, {"audio": "b.wav", "text": None}],
        ),
        (
            {"audio": {"0": "a.wav", "1": "b.wav"}, "text": {"1": "y"}},
            [{"audio": "a.wav"}, {"audio": "b.wav", "text": "y"}],
        ),
        ({"root_path": "", "samples": ROWS}, ROWS),
    ],
)
def test_objects_in_place_of_a_list(tmp_path, content, rows):
    assert read_text(tmp_path, json.dumps(content), "list.json").rows == rows


def test_the_columns_are_those_of_all_rows(tmp_path):
    assert read_text(tmp_path, LINES, "list.jsonl").columns == ["audio", "text", "id"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-mark", "utf-16-be-mark", "utf-32"])
@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.json", "list.jsonl"])
def test_encodings_with_a_mark(tmp_path, encoding, name):
    text = {"csv": "path,text\na.wav,ä, ö\n", "tsv": "path\ttext\na.wav\tä, ö\n"}.get(
        name[5:], json.dumps([{"path": "a.wav", "text": "ä, ö"}])
    )
    text = text.replace(",ä, ö", ',"ä, ö"')
    marked = encoding.endswith("-mark")
    (tmp_path / name).write_bytes(("\ufeff" * marked + text).encode(encoding.removesuffix("-mark")))
    assert read(tmp_path / name).rows == [{"path": "a.wav", "text": "ä, ö"}]


@pytest.mark.parametrize(
    "name, content, message",
    [
        (
            "m.csv",
            "path,text\na.wav,né\n".encode("latin-1"),
            r"not UTF-8 text: .* in line 2 \(0xe9\); save it as UTF-8",
        ),
        ("m.csv", "path,text\na.wav,x\n".encode("utf-16-le"), r"line 1 has NUL characters.*UTF-16 without a mark"),
        ("m.csv", b"path,text\na.wav,x\n\0\0\0\0", r"line 3 has NUL characters: the file is damaged"),
        ("m.csv", gzip.compress(b"path,text\n", mtime=0), "is compressed by gzip; unpack it"),
        ("m.csv", b"PK\x03\x04...", "workbook of Excel; unpack it, or save the sheet as CSV"),
        ("m.json", b"<!doctype html><html>", "is a web page"),
        ("m.jsonl", b"version https://git-lfs.github.com/spec/v1\noid", "pointer of Git LFS.*git lfs pull"),
        ("m.jsonl", b'{"audio": "a"}\n{"audio": "b"},\n{"audio": "c"}', r"line 2: .*none between the lines"),
        ("m.jsonl", b'{"audio": "a"}\n# more\n', r"line 2: .*JSON has no comments"),
        ("m.jsonl", b'{"audio": "a"}\n{"audio": "b"', r"line 2: Expecting"),
        ("m.json", b'[{"audio": "a"},\n{"audio": "b",}]', r"line 2: .*no comma after the last value"),
        ("m.jsonl", b'{"audio": "a"}\n{"text": "x", "text": "y"}', r"line 2: an object has the key 'text' twice"),
        ("m.json", b'{"name": "x", "items": [1, 2]}', r"one object for each recording .*its keys are name, items"),
        ("m.json", b"3", "one object for each recording"),
        ("m.jsonl", b"1\n2", "one object for each recording"),
    ],
)
def test_what_is_no_list_is_named(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=rf"m\.\w+' cannot be read as \w+: .*{message}"):
        read_text(tmp_path, content, name)
