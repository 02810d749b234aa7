"""
Lists of recordings: rows of known content, of which none may vanish or change without a word, and damaged lists.

    .venv/bin/pytest tests/repository/fuzz -s
"""

import csv
import io
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

import tiny
from deepspeech2 import DeepSpeech2FeatureExtractor, DeepSpeech2Processor
from deepspeech2.data import corpora
from deepspeech2.data.corpora import load_corpus
from deepspeech2.data.streams import EvaluationStream
from repository.fuzz.check import Case, excused, tally
from repository.fuzz.lists import Entry, Listed, write_clips
from repository.fuzz.mutations import mutated
from repository.fuzz.rows import ROWS
from repository.fuzz.tables import TABLES

BAD_NAMES = [
    "../../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "/dev/full",
    "pipe",
    ".",
    "",
    "a\0.wav",
    "~nobody-at-all/x.wav",
    "x" * 5000,
    "file:///etc/passwd",
    "zip://a.wav::/etc/passwd",
    "a.raw",
    "\ud800.wav",
    "folder.wav",
    "//",
    "a.wav/b.wav",
    "CON",
    "$HOME/a.wav",
    "`id`.wav",
    "\n.wav",
]


def new_processor() -> DeepSpeech2Processor:
    extractor = DeepSpeech2FeatureExtractor(81, sampling_rate=tiny.RATE, n_fft=160, win_length=160, hop_length=80)
    return DeepSpeech2Processor(extractor, DeepSpeech2Processor.build_tokenizer(" abcdefghijklmnopqrstuvwxyz"))


# Known rows ----------------------------------------------------------------------------------------------------------


def known(processor: DeepSpeech2Processor, root: Path) -> Iterator[Case]:
    rng = random.Random(11)
    number = 0
    clips = root / "clips"
    clips.mkdir(parents=True)
    write_clips(clips)
    for makes in (*TABLES, *ROWS):
        for listed in makes(rng):
            number += 1
            folder = root / str(number)
            yield Case(listed.kind, str(number), partial(compared, processor, listed, folder, clips))


def compared(processor: DeepSpeech2Processor, listed: Listed, folder: Path, clips: Path, said: list[str]) -> list[str]:
    """The rows that are lost, others or made up. A drop excuses a row, and so does a message that names it."""
    folder.mkdir()
    for clip in clips.iterdir():
        os.link(clip, folder / clip.name)
    (folder / "clips").symlink_to(clips)
    for name, content in listed.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    opened = load_corpus(str(folder / listed.dataset), None, **listed.options)
    stream = EvaluationStream(opened, processor, batch_seconds=30.0, drops_dir=folder / "drops")
    found: list[Entry] = []
    for batch in stream:
        for id_, text, duration_s in zip(batch["ids"], batch["texts"], batch["durations_s"], strict=True):
            found.append(Entry(id_, text, duration_s))
    dropped = [
        json.loads(line)["id"] for path in (folder / "drops").glob("*.jsonl") for line in path.read_text().splitlines()
    ]
    return list(differences(processor, listed.entries, found, dropped, said))


def differences(
    processor: DeepSpeech2Processor, entries: list[Entry], found: list[Entry], dropped: list[str], said: list[str]
) -> Iterator[str]:
    if len(found) + len(set(dropped)) < len(entries) and not any("row" in message for message in said):
        yield f"{len(found)} rows and {len(dropped)} drops came of {len(entries)}"
    if len(found) > len(entries):
        yield f"{len(found)} rows came of {len(entries)}"
    waiting = [*found]
    for entry in entries:
        own = [one for one in waiting if same_id(entry, one.id)]
        right = next((one for one in own if fits(processor, entry, one)), None)
        if right is not None:
            waiting.remove(right)
        elif own:
            waiting.remove(own[0])
            yield f"{entry} came out as {own[0]}"
        elif not any(same_id(entry, id_) for id_ in dropped) and not excused(entry.id, said):
            yield f"{entry} is lost"
    if waiting:
        yield f"nobody wrote {waiting[0]}"


def same_id(entry: Entry, id_: str) -> bool:
    """A list without ids gives them by the recording; a span may add its times."""
    return entry.id is None or entry.id in id_ or id_ in entry.id


def fits(processor: DeepSpeech2Processor, entry: Entry, found: Entry) -> bool:
    if entry.text is None or entry.duration_s is None:
        return False
    texts = (entry.text,) if isinstance(entry.text, str) else entry.text
    right = found.text in {processor.normalize_text(text) for text in texts}
    return right and abs(found.duration_s - entry.duration_s) < 0.002


# Damaged lists -------------------------------------------------------------------------------------------------------


def damaged(processor: DeepSpeech2Processor, root: Path) -> Iterator[Case]:
    """Nobody can know what these were meant to be. Faults are a crash, and rows that are neither read nor dropped."""
    rng = random.Random(5)
    clip = tiny.tones("ab cab", np.random.default_rng(0))
    number = 0

    def folder() -> Path:
        nonlocal number
        number += 1
        made = root / f"damaged{number}"
        made.mkdir(parents=True)
        for name in ("a.wav", "b.wav"):
            soundfile.write(made / name, clip, tiny.RATE)
        (made / "folder.wav").mkdir()
        (made / "a.raw").write_bytes(b"abc")
        os.mkfifo(made / "pipe")
        return made

    def case(kind: str, content: str | bytes, name: str, dataset: str = "", **options: str) -> Case:
        made = folder()
        content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        (made / name).write_bytes(content)
        place = str(made if dataset == "." else made / name)
        return Case(kind, f"{name} {content[:120]!r}", partial(only_read, processor, place, **options))

    for bad in BAD_NAMES:
        rows = [{"audio": "a.wav", "text": "ab", "id": "1"}, {"audio": bad, "text": "ab", "id": "2"}]
        for ordered in (rows, rows[::-1]):
            yield case("a bad name", json.dumps(ordered), "m.json")
            yield case("a bad name", "\n".join(map(json.dumps, ordered)), "m.jsonl")
        yield case("a bad name", f"file_name\ttext\na.wav\tab\n{bad}\tab\n", "metadata.tsv", ".")
        texts = [{"wav_path": f"{one}.wav", "transcript_path": name} for one, name in (("a", "t.txt"), ("b", bad))]
        yield case("a bad name", json.dumps({"root_path": "", "samples": texts}), "m.json")
        yield case("a bad name", json.dumps({"root_path": bad, "samples": texts}), "m.json")
    for value in (None, 1, 1.5, True, [], {}, [1], {"bytes": "x"}, "\ud800", "x" * 100_000):
        for key in ("audio", "text", "id", "speaker_id"):
            rows = [{"audio": "a.wav", "text": "ab", "id": "1"}, {"audio": "b.wav", "text": "b", "id": "2", key: value}]
            yield case("an odd value", json.dumps(rows[:: rng.choice([1, -1])]), "m.json")
    for content in ("", "[", "[1]", "{}", '{"samples": 3}', '{"samples": [], "root_path": []}', "[" * 3000, "NaN",
                    "[" + "9" * 5000 + "]", '[{"a": 1}]', "\0", "\ufeff[]", '[{"audio": "a.wav"}]'):  # fmt: skip
        for name, place in (("m.json", ""), ("m.jsonl", ""), ("metadata.jsonl", "."), ("m.csv", "")):
            yield case("no list", content, name, place)
    yield from mutations(case, rng)
    for name in (
        "m.csv",
        "m.json",
        "pipe",
        "folder.wav",
        "/dev/zero",
        "a\0b",
        "..",
        "~nobody-at-all",
        "x" * 300,
        "a/b/b",
    ):
        place = name if name[0] == "~" else str(folder() / name)
        yield Case("a name of a list", name[:40], partial(only_read, processor, place))
    yield from damaged_parquet(processor, root, folder, rng)
    for split in ("", "+", "..", "../..", "a+a", "\0", "train" * 100, "/etc"):
        yield case("an odd split", "file_name,text\na.wav,ab\n", "metadata.csv", ".", split=split)


def mutations(case, rng: random.Random) -> Iterator[Case]:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["audio", "text", "id"], ["a.wav", "ab", "1"], ["b.wav", "b", "2"]])
    good = {".csv": buffer.getvalue(), ".tsv": "audio\ttext\tid\na.wav\tab\t1\nb.wav\tb\t2\n"}
    good[".json"] = json.dumps([{"audio": "a.wav", "text": "ab"}, {"audio": "b.wav", "text": "b"}])
    good[".jsonl"] = "\n".join(map(json.dumps, json.loads(good[".json"])))
    for suffix, content in good.items():
        for _ in range(40):
            yield case(f"damaged {suffix}", mutated(content.encode(), rng), f"m{suffix}")
    for _ in range(30):
        content = good[".csv"].replace("audio", "file_name").encode()
        yield case("damaged metadata.csv", mutated(content, rng), "metadata.csv", ".")


def damaged_parquet(processor: DeepSpeech2Processor, root: Path, folder, rng: random.Random) -> Iterator[Case]:
    whole = root / "whole" / "train"
    tiny.write_parquet(tiny.write_corpus(root / "listed", "u", 3), whole)
    content = (whole / "0000.parquet").read_bytes()
    recordings = [{"bytes": b"x", "path": "p"}] * 2
    not_utf8 = pa.StringArray.from_buffers(2, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xffa"))
    tables = [
        {"audio": [1, 2], "text": ["a", "b"]},
        {"audio": pa.nulls(2), "text": ["a", "b"]},
        {"audio": recordings, "text": [{"a": 1}] * 2, "id": [None, None]},
        {"audio": recordings, "text": not_utf8},
        {"audio": pa.array([], pa.struct([("bytes", pa.binary())])), "text": pa.array([], pa.string())},
    ]
    for index in range(30 + len(tables)):
        path = folder() / "train" / "0000.parquet"
        path.parent.mkdir()
        if index < 30:
            path.write_bytes(mutated(content, rng))
        else:
            pq.write_table(pa.table(tables[index - 30]), path)
        yield Case("damaged Parquet", str(index), partial(only_read, processor, str(path.parent.parent)))


def only_read(processor: DeepSpeech2Processor, name: str, said: list[str], **options: str) -> list[str]:
    """Every row is scored or is in the record of drops, and none twice."""
    opened = load_corpus(name, None, **options)
    stream = EvaluationStream(opened, processor, batch_seconds=30.0)
    scored = [id_ for batch in stream for id_ in batch["ids"]]
    assert scored or stream.drop_counts()
    known_sizes = [corpus.num_examples for corpus in opened]
    lost = sum(size or 0 for size in known_sizes) - len(scored) - sum(stream.drop_counts().values())
    doubled = sum(count - 1 for count in Counter(scored).values())
    return [f"{lost} rows are lost"] if lost > doubled and all(known_sizes) else []


@pytest.mark.parametrize("one_of", [10, pytest.param(1, marks=pytest.mark.slow)])
def test_lists(tmp_path, monkeypatch, one_of):
    monkeypatch.setattr(corpora, "MAX_LOCAL_SHARDS", 1)  # opening a shard takes longer than reading a row
    processor = new_processor()

    def cases() -> Iterator[Case]:
        yield from known(processor, tmp_path / "known")
        yield from damaged(processor, tmp_path)

    tally("lists", cases(), one_of)
