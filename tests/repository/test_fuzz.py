"""
Seeded bad input of five kinds, more than a thousand pieces: each is taken, or refused by name; nothing crashes.

    .venv/bin/pytest tests/repository/test_fuzz.py -s

Refused is a `ValueError` that this package raised itself, with a message; any other exception is a crash. What is
taken must be usable: finite samples and features, labels of the vocabulary, rows whose recordings are read or dropped.
"""

import csv
import io
import json
import os
import random
import string
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
import yaml

import tiny
from deepspeech2 import DeepSpeech2FeatureExtractor, DeepSpeech2Processor
from deepspeech2.config.parser import parse_recipe
from deepspeech2.data.audio.recordings import AudioError, fetch_audio, open_audio, read_header
from deepspeech2.data.batching import Row
from deepspeech2.data.corpora import load_corpus
from deepspeech2.data.preparation import DropLog, Examples, Filters, summarize_drops
from deepspeech2.data.streams import EvaluationStream
from deepspeech2.system.command_line import OURS
from recipe_files import YAMLS

ROOT = Path(__file__).resolve().parents[2]
RATE = tiny.RATE
Case = tuple[str, Callable[[], object]]  # what it is, and what takes it
WEIRD_TEXTS = [
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "a\udfffb",
    "\N{RIGHT-TO-LEFT OVERRIDE}abc",
    "שלום עולם",
    "a\N{COMBINING ACUTE ACCENT}" * 50,
    "\N{ZERO WIDTH SPACE}\N{BYTE ORDER MARK}",
    "\N{FAMILY}" * 10,
    "\x1b[2J\x07\x08",
    "ß" * 100,
    "İ",
    "ﬁ",
    "<script>alert(1)</script>",
    "{{ 7*7 }}",
    "%s%n%d",
    "a" * 1_000_000,
    "\n\r\t\x0b\x0c\x85\u2028\u2029",
    "../../etc/passwd",
    "null",
    "NaN",
    "-1",
    "1e999",
]
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


@pytest.fixture(scope="module")
def processor() -> DeepSpeech2Processor:
    extractor = DeepSpeech2FeatureExtractor(81, sampling_rate=RATE, n_fft=160, win_length=160, hop_length=80)
    return DeepSpeech2Processor(extractor, DeepSpeech2Processor.build_tokenizer(" abcdefghijklmnopqrstuvwxyz"))


def outcome(take: Callable[[], object]) -> str:
    """accepted, refused, or crash with where and what."""
    try:
        take()
    except ValueError as error:
        raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
        if str(error) and Path(raised_in).is_relative_to(OURS):
            return "refused"
        return f"crash: {type(error).__name__} of {raised_in}: {str(error)[:300]}"
    except Exception as error:
        raised_in = traceback.extract_tb(error.__traceback__)[-1]
        return f"crash: {type(error).__name__} of {raised_in.filename}:{raised_in.lineno}: {str(error)[:300]}"
    return "accepted"


def tally(kind: str, cases: Iterator[Case], least: int) -> None:
    """Takes every case; prints how many were accepted and refused, and fails on a crash."""
    counts: Counter[str] = Counter()
    crashes = []
    for name, take in cases:
        found = outcome(take)
        counts[found.split(":")[0]] += 1
        if found.startswith("crash"):
            crashes.append(f"{name[:200]!r}: {found}")
    print(f"\n{kind}: {sum(counts.values())} bad inputs: {dict(counts)}")
    assert not crashes, "\n".join(crashes[:20])
    assert sum(counts.values()) >= least and counts["refused"], counts


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut, doubled, deleted or swapped, most of them where headers are."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5, 50])):
        place = min(int(rng.expovariate(1 / 60)) if rng.random() < 0.7 else rng.randrange(2**30), len(content) - 1)
        match rng.choice(["flip", "byte", "cut", "double", "delete", "extreme"]):
            case "flip" if content:
                content[place] ^= 1 << rng.randrange(8)
            case "byte" if content:
                content[place] = rng.randrange(256)
            case "cut":
                del content[rng.randrange(len(content) + 1) :]
            case "double":
                content[place:place] = content[place : place + rng.randrange(1, 200)]
            case "delete":
                del content[place : place + rng.randrange(1, 200)]
            case "extreme":
                content[place : place + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"])
    return bytes(content)


# Bytes --------------------------------------------------------------------------------------------------------------


def byte_cases() -> Iterator[Case]:
    rng = random.Random(1)
    clip = tiny.tones("ab cab", np.random.default_rng(0))
    formats = [("FLAC", None), ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)]
    for kind, subtype in formats:
        buffer = io.BytesIO()
        soundfile.write(buffer, clip, RATE, format=kind, subtype=subtype)
        for index in range(100):
            yield f"{kind} {subtype} {index}", partial(decode, mutated(buffer.getvalue(), rng))
    for index in range(20):
        yield f"noise {index}", partial(decode, rng.randbytes(rng.randrange(2000)))


def decode(content: bytes) -> None:
    recording = {"bytes": content, "path": "recording.x"}
    header = read_header(recording)
    samples = open_audio(recording, RATE)
    assert header.duration_s > 0 and samples.dtype == np.float32 and samples.ndim == 1
    assert np.isfinite(samples).all()


def test_bytes():
    tally("bytes", byte_cases(), 620)


# Audio --------------------------------------------------------------------------------------------------------------


def audio_cases(processor: DeepSpeech2Processor) -> Iterator[Case]:
    rng = np.random.default_rng(2)
    shapes = [
        (),
        (0,),
        (1,),
        (2,),
        (79,),
        (800,),
        (0, 800),
        (800, 0),
        (2, 800),
        (800, 2),
        (9, 9),
        (1, 1, 800),
        (800, 9),
    ]
    values = [0.0, 1.0, 1e-45, 1e30, -1e38, np.nan, np.inf, -np.inf]
    dtypes = ["f2", "f4", "f8", ">f4", "i2", "u1", "i8", "?", "c8", "O", "U5", "S3", "M8[s]"]
    for _ in range(220):
        shape, value, dtype = shapes[rng.integers(13)], values[rng.integers(8)], dtypes[rng.integers(13)]
        with np.errstate(all="ignore"):
            clip = rng.standard_normal(shape)
            clip = np.where(rng.random(shape) < rng.choice([0.01, 1.0]), value, clip)
            clip = np.zeros(shape, dtype) if dtype in ("M8[s]", "i2", "u1", "i8") else clip.astype(dtype)
        form = rng.choice(["array", "list", "tensor", "nested", "twice"])
        if form == "tensor" and dtype not in ("f2", "f4", "f8", "i2", "u1", "i8", "?", "c8"):
            form = "array"
        made = {
            "array": lambda c=clip: c,
            "list": lambda c=clip: c.tolist(),
            "tensor": lambda c=clip: torch.from_numpy(np.array(c)),
            "nested": lambda c=clip: [c],
            "twice": lambda c=clip: [c, np.ones(400, np.float32)],
        }[str(form)]()
        rate = [RATE, RATE, RATE, 16000, 0, -1, None][rng.integers(7)]
        yield f"{form} {shape} {dtype} {value} {rate}", lambda m=made, r=rate: features(processor, m, r)
    for wrong in (None, "speech.wav", b"RIFF", {}, [], [[]], [None], [[None]], object(), 3, [["a"]], {"array": [0.1]}):
        yield f"{wrong!r}", lambda w=wrong: features(processor, w, RATE)


def features(processor: DeepSpeech2Processor, clips: object, rate: int | None) -> None:
    found = processor(clips, sampling_rate=rate, return_tensors="pt")["input_features"]
    assert torch.isfinite(found).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_audio(processor):
    tally("audio", audio_cases(processor), 230)


# Text ---------------------------------------------------------------------------------------------------------------


def text_cases(processor: DeepSpeech2Processor, folder: Path) -> Iterator[Case]:
    rng = random.Random(3)
    planes = [(0, 0x20), (0x20, 0x7F), (0x7F, 0x250), (0x300, 0x370), (0x590, 0x700), (0x2000, 0x2070)]
    planes += [(0xD800, 0xE000), (0xE000, 0xF000), (0xFFF0, 0x10000), (0x1F000, 0x1FA00), (0xE0000, 0xE0100)]
    texts = list(WEIRD_TEXTS)
    for _ in range(45):
        low, high = rng.choice(planes)
        own = "".join(chr(rng.randrange(low, high)) for _ in range(rng.choice([1, 5, 300])))
        texts.append(rng.choice([own, f"a {own} b", own + "abc" * 20]))
    for text in texts:
        yield f"encoded {text[:20]!r}", lambda t=text: processor.encode(processor.normalize_text(t))
    for place, text in enumerate(texts):
        yield f"trained on {text[:20]!r}", lambda t=text, p=place: train_on(processor, t, folder / str(p))


def train_on(processor: DeepSpeech2Processor, text: str, folder: Path) -> None:
    """One recording with this text as id, speaker and transcript, from the list to the record of drops."""
    folder.mkdir()
    soundfile.write(folder / "a.wav", tiny.tones("ab cab", np.random.default_rng(0)), RATE)
    row = {"audio": "a.wav", "text": text, "id": text, "speaker_id": text}
    (folder / "m.json").write_text(json.dumps([row]), encoding="utf-8")
    (corpus,) = load_corpus(str(folder / "m.json"))
    log = DropLog(folder, "reader", resume=False)
    examples = Examples(processor, Filters(lambda num_samples: num_samples // 160, 0.1, 3.0))
    rows = [Row(example, corpus.name) for example in corpus.stream]
    batch = examples.batch(examples.items(rows, [0], log), log)
    assert (batch is None) == bool(log.drops)
    assert summarize_drops(folder, [log], [corpus.name])
    DropLog(folder, "reader", resume=True)


def test_text(processor, tmp_path):
    tally("text", text_cases(processor, tmp_path), 130)


# YAML ---------------------------------------------------------------------------------------------------------------

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
YAML_CASES = [
    LAUGHS + "dataset_name: *a11\n",
    "dataset_name: &x [*x]\n",
    "model_config: &x {a: *x}\n",
    "seed: 1\nseed: 2\n",
    "model_config: {hidden_size: 1, hidden_size: 2}\n",
    "seed: !!python/object/apply:os.system ['touch /tmp/owned']\n",
    "!!python/object:os.system {}\n",
    "seed: !!python/name:os.system\n",
    "seed: !!python/module:os\n",
    "credit: !!binary x\n",
    "seed: !!int x\n",
    "seed: !!int ''\n",
    "learning_rate: !!float x\n",
    "bf16: !!bool x\n",
    "credit: !!timestamp x\n",
    "credit: 2001-99-99\n",
    "seed: !!set {a, b}\n",
    "seed: !!omap [a: 1]\n",
    "? [a, b]\n: 1\n",
    "? {a: b}\n: 1\n",
    "[" * 5000,
    "{a: " * 5000,
    "seed: " + "9" * 5000,
    "seed: 1e999\n",
    "learning_rate: .nan\n",
    "max_duration_s: .nan\nbatch_seconds: .inf\n",
    "batch_seconds: -.inf\n",
    "\t: \t",
    "\0",
    "%YAML 9.9\n---\nseed: 1\n",
    "--- 1\n--- 2\n",
    "<<: {seed: 1}\n",
    "<<: [1]\n",
    "null: 1\n",
    "1: 2\n",
    "- dataset_name\n",
    "dataset_name: [[a], {b: c}, null]\n",
    "dataset_name: synthetic\nmodel_config: [1]\n",
    "model_config: {1: 2}\n",
    "output_dir: [a]\n",
    'output_dir: "a\\0b"\n',
    "config: x.yaml\n",
    "help: true\n",
    "seed: 1_000_000_000_000_000_000_000_000\n",
    "eval_strategy: nope\n",
    "optim: nope\n",
    "fsdp: nope\n",
    "deepspeed: nope.json\n",
    "accelerator_config: nope.json\n",
    "report_to: [nope]\n",
]


def yaml_cases(folder: Path) -> Iterator[Case]:
    rng = random.Random(4)
    recipes = [path.read_text(encoding="utf-8") for path in YAMLS]
    values = [
        "",
        "null",
        "[]",
        "{}",
        "-1",
        "1e400",
        ".nan",
        "yes",
        "'",
        "[a, {b: c}]",
        "*a",
        "&a x",
        "!!str 1",
        "0x",
        "~",
    ]
    texts = list(YAML_CASES)
    for _ in range(70):
        lines = [line for line in rng.choice(recipes).splitlines() if not line.startswith(("bf16", "tf32"))]
        for _ in range(rng.choice([1, 1, 3])):
            place = rng.randrange(len(lines))
            match rng.choice(["value", "value", "key", "drop", "double", "characters"]):
                case "value":
                    lines[place] = f"{lines[place].split(':')[0]}: {rng.choice(values)}"
                case "key":
                    lines[place] = rng.choice(string.ascii_letters) + lines[place]
                case "drop":
                    lines[place] = lines[place][: rng.randrange(len(lines[place]) + 1)]
                case "double":
                    lines.insert(place, lines[place])
                case "characters":
                    own = list(lines[place])
                    own.insert(rng.randrange(len(own) + 1), rng.choice("{}[]:,&*!|>'\"%@`#\t\0\ud800é"))
                    lines[place] = "".join(own)
        texts.append("\n".join(lines))
    for index, text in enumerate(texts):
        path = folder / f"{index}.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        yield text, lambda p=path: parse(p)
    for index in range(15):
        path = folder / f"bytes{index}.yaml"
        path.write_bytes(mutated(rng.choice(recipes).encode(), rng))
        yield f"bytes {index}", lambda p=path: parse(p)


def parse(path: Path) -> None:
    recipe = parse_recipe([str(path), "--use_cpu", "true", "--bf16", "false"], path)
    assert recipe.data.dataset_name and recipe.training.output_dir


def test_yaml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tally("YAML", yaml_cases(tmp_path), 130)
    assert not Path("/tmp/owned").exists()


# Manifests ----------------------------------------------------------------------------------------------------------


def manifest_cases(processor: DeepSpeech2Processor, root: Path) -> Iterator[Case]:
    rng = random.Random(5)
    clip = tiny.tones("ab cab", np.random.default_rng(0))
    number = 0

    def folder() -> Path:
        nonlocal number
        number += 1
        made = root / str(number)
        made.mkdir()
        for name in ("a.wav", "b.wav"):
            soundfile.write(made / name, clip, RATE)
        (made / "folder.wav").mkdir()
        (made / "a.raw").write_bytes(b"abc")
        os.mkfifo(made / "pipe")
        return made

    def case(content: str | bytes, name: str, dataset: str = "", **options: str) -> Case:
        made = folder()
        content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        (made / name).write_bytes(content)
        place = str(made if dataset == "." else made / name)
        return f"{name} {content[:120]!r}", lambda: read(processor, place, **options)

    for bad in BAD_NAMES:
        rows = [{"audio": "a.wav", "text": "ab", "id": "1"}, {"audio": bad, "text": "ab", "id": "2"}]
        yield case(json.dumps(rows), "m.json")
        yield case("\n".join(map(json.dumps, rows)), "m.jsonl")
        yield case(f"file_name\ttext\na.wav\tab\n{bad}\tab\n", "metadata.tsv", ".")
        texts = [{"wav_path": "a.wav", "transcript_path": name} for name in ("t.txt", bad)]
        yield case(json.dumps({"root_path": "", "samples": texts}), "m.json")
        yield case(json.dumps({"root_path": bad, "samples": texts}), "m.json")
    for value in (None, 1, 1.5, True, [], {}, [1], {"bytes": "x"}, "\ud800", "x" * 100_000):
        for key in ("audio", "text", "id", "speaker_id"):
            rows = [{"audio": "a.wav", "text": "ab", "id": "1"}, {"audio": "b.wav", "text": "b", "id": "2", key: value}]
            yield case(json.dumps(rows[:: rng.choice([1, -1])]), "m.json")
    for content in ("", "[", "[1]", "{}", '{"samples": 3}', '{"samples": [], "root_path": []}', "[" * 3000, "NaN",
                    "[" + "9" * 5000 + "]", '[{"a": 1}]', "\0", "\ufeff[]", '[{"audio": "a.wav"}]'):  # fmt: skip
        yield case(content, "m.json")
        yield case(content, "m.jsonl")
        yield case(content, "metadata.jsonl", ".")
        yield case(content, "m.csv")
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["audio", "text", "id"], ["a.wav", "ab", "1"], ["b.wav", "b", "2"]])
    good = {".csv": buffer.getvalue(), ".tsv": "audio\ttext\tid\na.wav\tab\t1\nb.wav\tb\t2\n"}
    good[".json"] = json.dumps([{"audio": "a.wav", "text": "ab"}, {"audio": "b.wav", "text": "b"}])
    good[".jsonl"] = "\n".join(map(json.dumps, json.loads(good[".json"])))
    for suffix, content in good.items():
        for _ in range(15):
            yield case(mutated(content.encode(), rng), f"m{suffix}")
    for _ in range(15):
        yield case(mutated(good[".csv"].replace("audio", "file_name").encode(), rng), "metadata.csv", ".")
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
        "a" + "/b" * 3,
    ):
        yield f"named {name[:40]}", partial(read, processor, name if name[0] == "~" else str(folder() / name))
    whole = root / "whole" / "train"
    tiny.write_parquet(tiny.write_corpus(root / "listed", "u", 3), whole)
    content = (whole / "0000.parquet").read_bytes()
    recordings = [{"bytes": b"x", "path": "p"}] * 2
    not_utf8 = pa.StringArray.from_buffers(2, pa.array([0, 1, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xffa"))
    tables = [
        {"audio": [1, 2], "text": ["a", "b"]},
        {"audio": pa.nulls(2), "text": ["a", "b"]},
        {"audio": [[0.1], [0.2]], "text": ["a", "b"]},
        {"audio": recordings, "text": [1, 2]},
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
        yield f"Parquet {index}", partial(read, processor, str(path.parent.parent))
    for split in ("", "+", "..", "../..", "a+a", "\0", "train" * 100, "/etc"):
        yield case("file_name,text\na.wav,ab\n", "metadata.csv", ".", split=split)


def read(processor: DeepSpeech2Processor, name: str, **options: str) -> None:
    """Every row is scored or is in the record of drops."""
    corpora = load_corpus(name, None, **options)
    stream = EvaluationStream(corpora, processor, batch_seconds=10.0)
    scored = [id_ for batch in stream for id_ in batch["ids"]]
    assert scored or stream.drop_counts()


def test_manifests(processor, tmp_path):
    tally("manifests", manifest_cases(processor, tmp_path), 270)


def test_no_file_outside_a_folder_is_read(processor, tmp_path):
    """What a stranger's folder, Parquet file or list says is a transcript or a recording."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    clip = tmp_path / "secret.wav"
    soundfile.write(clip, tiny.tones("ab", np.random.default_rng(0)), RATE)
    folder = tmp_path / "folder"
    (folder / "x").mkdir(parents=True)
    for listed in ("../secret.wav", str(clip), f"file://{clip}", "x/../../secret.wav"):
        (folder / "metadata.csv").write_text(f"file_name,text\n{listed},ab\n")
        (found,) = load_corpus(str(folder))[0].stream
        with pytest.raises(AudioError, match="lies outside its corpus"):
            fetch_audio(found["audio"])
    tiny.write_parquet(tiny.write_corpus(tmp_path / "m", "u", 1), tmp_path / "hub" / "train")
    row = {"audio": {"bytes": None, "path": str(clip)}, "text": "own", "text_path": str(secret), "id": "u"}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "hub" / "train" / "0000.parquet")
    (found,) = load_corpus(str(tmp_path / "hub"))[0].stream
    assert found["text"] == "own"
    with pytest.raises(AudioError, match="lies outside its corpus"):
        fetch_audio(found["audio"])


def test_the_recipes_are_what_is_mutated():
    """A recipe as it is parses, so that the mutations are what is refused."""
    for path in YAMLS:
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["output_dir"]
