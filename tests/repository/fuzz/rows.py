"""Kinds of lists whose rows are odd: texts that are no strings, missing keys, spans, paths, JSON and Parquet."""

import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

import tiny
from repository.fuzz.lists import (
    CLIPS,
    FORMATS,
    RATE,
    Entry,
    Listed,
    clip_name,
    clip_s,
    entries_of,
    one_list,
    plain_rows,
    words,
)

ODD_TEXTS: list[tuple[object, str | tuple[str, ...] | None]] = [
    (None, None),
    (float("nan"), None),
    (5, ("5",)),
    (1.5, ("1.5",)),
    (True, None),
    (False, None),
    ([], None),
    (["a", "b"], ("a b",)),
    ([1, 2], None),
    ({"a": 1}, None),
    ({"text": "a b"}, ("a b",)),
    ("", ("",)),  # whoever scores silence has empty references
    ("  ", ("",)),
    ("nan", ("nan",)),
    ("null", ("null",)),
    ("None", ("none", "None")),
]


def odd_texts(rng: random.Random) -> Iterator[Listed]:
    for value, right in ODD_TEXTS:
        for suffix in ("json", "jsonl"):
            rows: list[dict] = plain_rows(rng)
            entries = entries_of(rows)
            for place in rng.sample(range(len(rows)), rng.choice([1, 2])):
                rows[place]["text"] = value
                entries[place] = replace(entries[place], text=right)
            yield one_list(f"the text {value!r}", suffix, FORMATS[suffix](rows), entries)


def missing_keys(rng: random.Random) -> Iterator[Listed]:
    """A row may lack a key that others have, the first one too."""
    for key in ("text", "id", "audio"):
        for first in (True, False):
            for suffix in ("json", "jsonl"):
                rows = plain_rows(rng)
                entries = entries_of(rows)
                place = 0 if first else rng.randrange(1, len(rows))
                gone = rows[place].pop(key)
                own = {"text": {"text": None}, "id": {"id": rows[place].get("audio")}, "audio": {"duration_s": None}}
                entries[place] = replace(entries[place], **own[key])
                where = "the first row" if first else "a later row"
                yield one_list(f"{where} lacks {key}", suffix, FORMATS[suffix](rows), entries)
                assert gone


def spans(rng: random.Random) -> Iterator[Listed]:
    for names in (("offset", "duration"), ("start", "end"), ("start_s", "end_s"), ("start_time", "end_time")):
        for suffix, write in FORMATS.items():
            rows, entries = [], []
            for place in range(rng.randint(2, 5)):
                index = rng.randrange(CLIPS)
                start = round(rng.uniform(0, 0.08), 3)
                length = round(rng.uniform(0.05, 0.1), 3)
                second = length if names[1] == "duration" else round(start + length, 3)
                text = words(rng)
                values = (start, second) if suffix in ("json", "jsonl") else (str(start), str(second))
                spoken = dict(zip(names, values, strict=True))
                rows.append({"audio": clip_name(index), "text": text, "id": f"s{place}"} | spoken)
                entries.append(Entry(f"s{place}", text, length))
            yield one_list(f"spans by {names[0]}, {names[1]}", suffix, write(rows), entries)
            bad: list[tuple[object, object]] = [
                (0.1, 99.0),
                (99.0, 100.0),
                (0.1, 0.05),
                (-1.0, 0.1),
                ("x", 0.1),
                (0, 0),
            ]
            place = rng.randrange(len(rows))
            start, end = bad[rng.randrange(len(bad))]
            if names[1] == "duration" and (start, end) == (0.1, 0.05):
                end = -0.05
            rows[place] |= dict(
                zip(names, (start, end) if suffix[:4] == "json" else map(str, (start, end)), strict=True)
            )
            entries[place] = replace(entries[place], duration_s=None)
            yield one_list(f"a span that cannot be, by {names[0]}, {names[1]}", suffix, write(rows), entries)


def missing_recordings(rng: random.Random) -> Iterator[Listed]:
    for name in ("first", "middle", "last", "two"):
        for suffix, write in FORMATS.items():
            rows = plain_rows(rng)
            entries = entries_of(rows)
            for place in {"first": [0], "middle": [1], "last": [-1], "two": [0, 1]}[name]:
                rows[place]["audio"] = rng.choice(["gone.wav", "gone/k0.wav", "k0.flac", "", "k0.wav "])
                sound = clip_s(0) if rows[place]["audio"] == "k0.wav " else None
                entries[place] = replace(entries[place], duration_s=sound)
            yield one_list(f"the {name} recording is missing", suffix, write(rows), entries)


def windows_paths(rng: random.Random) -> Iterator[Listed]:
    for prefix in ("clips\\", ".\\clips\\", "C:\\Users\\me\\clips\\"):
        for suffix, write in FORMATS.items():
            rows = plain_rows(rng)
            entries = entries_of(rows)
            for row in rows:
                row["audio"] = prefix + row["audio"]
            yield one_list(f"paths {prefix}", suffix, write(rows), entries)


def repeated(rng: random.Random) -> Iterator[Listed]:
    for suffix, write in FORMATS.items():
        rows = plain_rows(rng)
        for row in rows:
            row["id"] = "same"
        yield one_list("ids that are all the same", suffix, write(rows), entries_of(rows))
        rows = [row | {"audio": clip_name(1)} for row in plain_rows(rng)]
        yield one_list("one recording for all", suffix, write(rows), entries_of(rows))


def shapes_of_json(rng: random.Random) -> Iterator[Listed]:
    rows = plain_rows(rng)
    entries = entries_of(rows)
    lines = FORMATS["jsonl"](rows)
    for kind, suffix, content in [
        ("JSON lines in .json", "json", lines),
        ("JSON list in .jsonl", "jsonl", json.dumps(rows)),
        ("JSON with data", "json", json.dumps({"data": rows})),
        ("JSON by id", "json", json.dumps({row["id"]: row for row in rows})),
        ("JSON of columns", "json", json.dumps({key: [row[key] for row in rows] for key in rows[0]})),
        ("JSON indented", "json", json.dumps(rows, indent=2)),
        ("JSON lines with a comma", "jsonl", lines.replace("}\n", "},\n")),
        ("JSON lines cut", "jsonl", lines[:-9]),
        ("JSON cut", "json", json.dumps(rows)[:-9]),
        ("a key twice", "json", json.dumps(rows).replace('"text": "', '"text": "x", "text": "', 1)),
    ]:
        yield one_list(kind, suffix, content, entries)


def parquet(rng: random.Random) -> Iterator[Listed]:
    clips = [tiny.tones("ab cab", np.random.default_rng(0)) for _ in range(3)]
    texts = [words(rng) for _ in clips]
    entries = [
        Entry(f"id-{place}", text, len(clip) / RATE)
        for place, (text, clip) in enumerate(zip(texts, clips, strict=True))
    ]
    buffers = []
    for clip in clips:
        buffer = io.BytesIO()
        soundfile.write(buffer, clip, RATE, format="WAV")
        buffers.append(buffer.getvalue())
    ids = [entry.id for entry in entries]
    columns = {
        "struct": [{"bytes": one, "path": "a.wav"} for one in buffers],
        "bytes": buffers,
        "array": [{"array": clip.tolist(), "sampling_rate": RATE, "path": "a.wav"} for clip in clips],
        "floats": [clip.tolist() for clip in clips],
        "text in place of audio": ["x"] * 3,
        "numbers in place of audio": [1, 2, 3],
    }
    for kind, column in columns.items():
        buffer = io.BytesIO()
        pq.write_table(pa.table({"audio": column, "text": texts, "id": ids}), buffer)
        own = entries
        if kind == "floats" or "place" in kind:  # without a rate, samples have no duration
            own = [replace(entry, duration_s=None) for entry in entries]
        yield Listed(f"Parquet, {kind}", {"train/0.parquet": buffer.getvalue()}, "", own)
    for odd in ([None, "a", "b"], [1, 2, 3], [["a"], ["b"], ["c"]], [{"a": 1}] * 3):
        buffer = io.BytesIO()
        pq.write_table(pa.table({"audio": columns["struct"], "text": odd, "id": ids}), buffer)
        right = [one if isinstance(one, str) else (str(one),) if isinstance(one, int) else None for one in odd]
        right = [("".join(one),) if isinstance(one, list) else own for one, own in zip(odd, right, strict=True)]
        own = [replace(entry, text=text) for entry, text in zip(entries, right, strict=True)]
        yield Listed(f"Parquet, texts of {pa.array(odd).type}", {"train/0.parquet": buffer.getvalue()}, "", own)


ROWS: list[Callable[[random.Random], Iterator[Listed]]] = [
    odd_texts, missing_keys, spans, missing_recordings, windows_paths, repeated, shapes_of_json, parquet,
]  # fmt: skip
