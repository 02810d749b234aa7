"""Kinds of lists whose format is odd: line ends, encodings, delimiters, quotation marks, names of columns."""

import csv
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from repository.fuzz.lists import FORMATS, Entry, Listed, entries_of, one_list, plain_rows, raw_table, table, words


def whole(rng: random.Random) -> Iterator[Listed]:
    rows = plain_rows(rng)
    for suffix, write in FORMATS.items():
        yield one_list("whole", suffix, write(rows), entries_of(rows))
    samples = [{"wav_path": row["audio"], "transcript_path": f"{row['id']}.txt"} for row in rows]
    texts = {f"{row['id']}.txt": row["text"].encode() for row in rows}
    content = json.dumps({"root_path": "", "samples": samples}).encode()
    entries = [replace(entry, id=row["audio"]) for entry, row in zip(entries_of(rows), rows, strict=True)]
    yield Listed("deepspeech.pytorch", {"m.json": content, **texts}, "m.json", entries)


def line_ends(rng: random.Random) -> Iterator[Listed]:
    rows = plain_rows(rng)
    for suffix, write in FORMATS.items():
        content = write(rows)
        for name, changed in {
            "CRLF": content.replace("\n", "\r\n"),
            "CR": content.replace("\n", "\r") if suffix in ("csv", "tsv") else content,
            "empty lines": content.replace("\n", "\n\n"),
            "no last line end": content.rstrip("\n"),
            "byte order mark": "\ufeff" + content,
            "spaces at line ends": content.replace("\n", "  \n"),
        }.items():
            yield one_list(f"{suffix}, {name}", suffix, changed, entries_of(rows))


def encodings(rng: random.Random) -> Iterator[Listed]:
    rows = plain_rows(rng)
    rows[rng.randrange(len(rows))]["text"] += " äé"
    for suffix, write in FORMATS.items():
        content = write(rows) if suffix in ("csv", "tsv") else write(rows).encode().decode("unicode_escape")
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "cp437"):
            yield one_list(f"{suffix} in {encoding}", suffix, content.encode(encoding), entries_of(rows))


def delimiters(rng: random.Random) -> Iterator[Listed]:
    for delimiter in ",;\t|":
        for suffix in ("csv", "tsv"):
            rows = plain_rows(rng)
            kind = f"{suffix} of {delimiter!r}"
            yield one_list(kind, suffix, table(rows, delimiter), entries_of(rows))
            quoted = table(rows, delimiter, quoting=csv.QUOTE_ALL)
            yield one_list(f"{kind}, all quoted", suffix, quoted, entries_of(rows))
            for row in rows:
                row["text"] = f"{row['text']}{delimiter} {words(rng)}"
            yield one_list(f"{kind} in quoted text", suffix, table(rows, delimiter), entries_of(rows))
            yield one_list(f"{kind} in bare text", suffix, raw_table(rows, delimiter), entries_of(rows))


def quotation_marks(rng: random.Random) -> Iterator[Listed]:
    """Rows behind a mark that never closes must not vanish."""
    for delimiter, suffix in ((",", "csv"), (";", "csv"), ("\t", "tsv"), ("\t", "csv"), ("|", "csv")):
        for name, change in {
            "one at the start": lambda text: f'"{text}',
            "one inside": lambda text: f'{text} "b',
            "one at the end": lambda text: f'{text}"',
            "a word quoted": lambda text: f'"a" {text}',
            "in inches": lambda text: f'{text} 5" wide',
            "doubled": lambda text: f'""{text}',
            "typographic": lambda text: f"“{text}”",
            "single": lambda text: f"'{text}",
        }.items():
            rows = plain_rows(rng)
            place = rng.randrange(len(rows))
            rows[place]["text"] = change(rows[place]["text"])
            entries = entries_of(rows)
            # A table may take the marks at both ends for quotation.
            bare = rows[place]["text"].strip('"')
            entries[place] = replace(entries[place], text=(rows[place]["text"], bare, rows[place]["text"] + " "))
            content = raw_table(rows, delimiter)
            yield one_list(f"bare quotation mark, {name}, {suffix} of {delimiter!r}", suffix, content, entries)
            written = table(rows, delimiter)
            if suffix == "csv":
                exact = entries_of(rows)
                yield one_list(f"quoted quotation mark, {name}, of {delimiter!r}", suffix, written, exact)


def short_and_long_rows(rng: random.Random) -> Iterator[Listed]:
    for suffix, delimiter in (("csv", ","), ("tsv", "\t"), ("csv", ";")):
        rows = plain_rows(rng)
        lines = raw_table(rows, delimiter).splitlines()
        place = rng.randrange(1, len(lines))
        row = rows[place - 1]
        short = [*lines]
        short[place] = row["audio"]
        entries = entries_of(rows)
        entries[place - 1] = Entry(row["audio"], None, None)
        yield one_list(f"a row of one cell, {suffix}", suffix, "\n".join(short), entries)
        long = [*lines]
        long[place] += f"{delimiter}more"
        yield one_list(f"a row of one cell more, {suffix}", suffix, "\n".join(long), entries_of(rows))
        trailing = "\n".join(line + delimiter for line in lines)
        yield one_list(f"a delimiter at each line end, {suffix}", suffix, trailing, entries_of(rows))
        comment = "\n".join([f"# made by hand{delimiter * 2}", *lines])
        yield one_list(f"a comment first, {suffix}", suffix, comment, entries_of(rows))
        hint = "\n".join([f"sep={delimiter}", *lines])
        yield one_list(f"sep= first, {suffix}", suffix, hint, entries_of(rows))
        twice = "\n".join([lines[0], *lines])
        yield one_list(f"the header twice, {suffix}", suffix, twice, entries_of(rows))


NAMES = [
    ("audio_filepath", "text"),
    ("wav_filename", "transcript"),
    ("path", "sentence"),
    ("file_name", "transcription"),
    ("Audio", "Text"),
    ("PATH", "SENTENCE"),
    ("wav", "wrd"),
    ("file", "text"),
    ("filename", "words"),
]


def column_names(rng: random.Random) -> Iterator[Listed]:
    for audio, text in NAMES:
        rows = plain_rows(rng)
        named = [{audio: row["audio"], text: row["text"], "id": row["id"]} for row in rows]
        for suffix, write in FORMATS.items():
            yield one_list(f"columns {audio}, {text}", suffix, write(named), entries_of(rows))
    rows = plain_rows(rng)
    content = "".join(f"{row['id']}|{row['text']}|{row['text']}\n" for row in rows)
    files = {"metadata.csv": content.encode()}
    entries = [replace(entry, duration_s=None) for entry in entries_of(rows)]
    yield Listed("LJSpeech without its wavs", files, "", entries)


TABLES: list[Callable[[random.Random], Iterator[Listed]]] = [
    whole, line_ends, encodings, delimiters, quotation_marks, short_and_long_rows, column_names,
]  # fmt: skip
