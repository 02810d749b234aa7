"""Every kind of corpus becomes the same stream; every wrong one says what it is."""

import io
import json
import os
import sys
import types
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from deepspeech2.data.audio.recordings import AudioError, audio_duration_s, fetch_audio, open_audio
from deepspeech2.data.corpora import load_corpus

COLUMNS = ["audio", "text", "id", "speaker_id", "fault"]


def tone(duration_s: float, rate: int = 16000, channels: int = 1) -> np.ndarray:
    time_s = np.arange(round(duration_s * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * 440 * time_s)
    return np.stack([wave] * channels, axis=1)


def encoded(duration_s: float, rate: int = 16000, kind: str = "FLAC", channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(duration_s, rate, channels), rate, format=kind)
    return buffer.getvalue()


def write_wav(path: Path, duration_s: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(duration_s), 16000)


def write_parquet(path: Path, ids: list[str], **columns: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {
        "audio": [{"bytes": encoded(0.5), "path": f"{name}.flac"} for name in ids],
        "text": [f"text of {name}" for name in ids],
        "id": ids,
        "speaker_id": [7] * len(ids),
        "chapter_id": [1] * len(ids),
    } | columns
    pq.write_table(pa.table({key: value for key, value in table.items() if value is not None}), path)


def rows_of(name, *args, **kwargs) -> list[dict]:
    (corpus,) = load_corpus(str(name), *args, **kwargs)
    rows = list(corpus.stream)
    assert corpus.stream.column_names == COLUMNS
    assert all(list(row) == COLUMNS for row in rows)
    assert corpus.num_examples in (None, len(rows))
    assert {type(row["id"]) for row in rows} == {type(row["speaker_id"]) for row in rows} == {str}
    assert all(open_audio(row["audio"], 16000).shape == (8000,) for row in rows)
    return sorted(rows, key=lambda row: row["id"])


def texts(rows: list[dict]) -> list[str | None]:
    return [row["text"] for row in rows]


@pytest.fixture
def wavs(tmp_path):
    for name in ("a", "b", "c"):
        write_wav(tmp_path / "wavs" / f"{name}.wav")
    return tmp_path


def test_manifests_without_transcripts(wavs):
    """Where none are wanted a manifest may lack them, and those of another do not matter."""
    (wavs / "bare.csv").write_text("audio\nwavs/a.wav\nwavs/b.wav\n")
    (wavs / "told.csv").write_text("wavs/a.wav,missing.txt\n")
    assert texts(rows_of(wavs / "bare.csv", text_column=None)) == [None, None]
    assert texts(rows_of(wavs / "told.csv", text_column=None)) == [None]
    with pytest.raises(ValueError, match="has no column 'text'"):
        load_corpus(str(wavs / "bare.csv"))


@pytest.mark.parametrize("suffix, separator", [(".csv", ","), (".csv", ";"), (".tsv", "\t")])
def test_delimited_manifest(wavs, suffix, separator):
    lines = [
        ("path", "sentence", "client_id", "age"),
        ("wavs/a.wav", "one", "s1", "9"),
        ("wavs/b.wav", "two", "s2", "9"),
    ]
    manifest = wavs / f"train{suffix}"
    manifest.write_text("\n".join(separator.join(line) for line in lines), encoding="utf-8-sig")
    rows = rows_of(manifest)
    assert texts(rows) == ["one", "two"]
    assert [(row["id"], row["speaker_id"]) for row in rows] == [("wavs/a.wav", "s1"), ("wavs/b.wav", "s2")]


def test_another_encoding_is_named(wavs):
    (wavs / "train.csv").write_text("path,text\nwavs/a.wav,né\n", encoding="latin-1")
    with pytest.raises(ValueError, match=r"train.csv' cannot .* line 2 \(0xe9\); save it as UTF-8"):
        load_corpus(str(wavs / "train.csv"))


def test_tsv_keeps_bare_quotation_marks(wavs):
    (wavs / "train.tsv").write_text('path\ttext\nwavs/a.wav\t"he said\nwavs/b.wav\tyes"\n')
    assert texts(rows_of(wavs / "train.tsv")) == ['"he said', 'yes"']


def test_json_and_jsonl_manifests(wavs):
    content = [
        {"audio_filepath": "wavs/a.wav", "text": "one", "id": 12, "speaker": 5},
        {"audio_filepath": str(wavs / "wavs/b.wav"), "text": "two", "id": 13, "speaker": 6},
    ]
    (wavs / "m.json").write_text(json.dumps(content))
    (wavs / "m.jsonl").write_text("\n".join(json.dumps(row) for row in content) + "\n\n")
    assert rows_of(wavs / "m.json") == rows_of(wavs / "m.jsonl")
    rows = rows_of(wavs / "m.json")
    assert [(row["id"], row["speaker_id"], row["text"]) for row in rows] == [
        ("12", "5", "one"),
        ("13", "6", "two"),
    ]


def test_deepspeech_pytorch_manifests(wavs):
    for name in ("a", "b", "c"):
        (wavs / "txt").mkdir(exist_ok=True)
        (wavs / "txt" / f"{name}.txt").write_text(f"TEXT {name.upper()}\n")
    (wavs / "train.csv").write_text("".join(f"wavs/{n}.wav,txt/{n}.txt\n" for n in "abc"))
    samples = [{"wav_path": f"{n}.wav", "transcript_path": f"../txt/{n}.txt"} for n in "abc"]
    (wavs / "train.json").write_text(json.dumps({"root_path": str(wavs / "wavs"), "samples": samples}))
    assert texts(rows_of(wavs / "train.csv")) == ["TEXT A", "TEXT B", "TEXT C"]
    assert texts(rows_of(wavs / "train.json")) == ["TEXT A", "TEXT B", "TEXT C"]


def test_named_columns(wavs):
    (wavs / "m.csv").write_text("wavfile,words,text\nwavs/a.wav,right,wrong\n")
    assert texts(rows_of(wavs / "m.csv", text_column="words", audio_column="wavfile")) == ["right"]
    with pytest.raises(ValueError, match=r"no column 'audio' or .*columns are wavfile, words, text.*audio_column"):
        load_corpus(str(wavs / "m.csv"))
    with pytest.raises(ValueError, match=r"no column 'transkript'; its columns are wavfile.*text_column"):
        load_corpus(str(wavs / "m.csv"), text_column="transkript", audio_column="wavfile")


def test_order_of_a_list_is_shuffled_once(tmp_path):
    write_wav(tmp_path / "a.wav")
    (tmp_path / "m.csv").write_text("audio,text,id\n" + "".join(f"a.wav,x,{i:03d}\n" for i in range(200)))
    orders = [[row["id"] for row in load_corpus(str(tmp_path / "m.csv"))[0].stream] for _ in range(2)]
    assert orders[0] == orders[1] != sorted(orders[0])
    assert sorted(orders[0]) == [f"{i:03d}" for i in range(200)]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("empty.csv", "", "holds no rows"),
        ("header.csv", "audio,text\n", "holds no rows"),
        ("empty.jsonl", "\n", "holds no rows"),
        ("broken.json", "[{", "cannot be read as json"),
        ("number.json", "3", "one object for each recording"),
        (
            "gone.csv",
            "audio,text\nnot/there.wav,x\n",
            r"not/there.wav' is not a file; relative paths start",
        ),
        ("comma.csv", "audio,text\na.wav,one\nb.wav,one, two\n", r"line 3 has 3 cells.*quotation marks"),
        ("notes.txt", "hello", r"is not a manifest; expected a file name that ends in .csv"),
    ],
)
def test_wrong_manifests(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        load_corpus(str(tmp_path / name))


def test_a_mistyped_folder_is_not_sought_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: pytest.fail("the Hub was asked"))
    (tmp_path / "outputs").mkdir()
    for name in ("my_recording", "outputs/run"):
        with pytest.raises(ValueError, match=f"no file or folder '{name}'.*on the Hub, which is named owner/name"):
            load_corpus(name)


def test_wrong_names(tmp_path):
    with pytest.raises(ValueError, match="no file or folder '/no/such/folder'"):
        load_corpus("/no/such/folder")
    with pytest.raises(ValueError, match=r"no file or folder 'missing.csv'"):
        load_corpus("missing.csv")
    with pytest.raises(ValueError, match=r"not a corpus: looked for train/metadata.csv.*README.md.*trans.txt"):
        load_corpus(str(tmp_path))
    with pytest.raises(ValueError, match="different names joined with"):
        load_corpus(str(tmp_path), split="train+")
    (tmp_path / "m.csv").write_text("audio,text\n")
    with pytest.raises(ValueError, match="but a manifest is one split"):
        load_corpus(str(tmp_path / "m.csv"), split="a+b")


def write_librispeech(root: Path) -> None:
    for part, speaker in (("train-clean-100", 19), ("dev-clean", 84), ("test-clean", 61), ("test-other", 62)):
        folder = root / part / str(speaker) / "198"
        names = [f"{speaker}-198-{i:04d}" for i in range(2)]
        for name in names:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.flac").write_bytes(encoded(0.5))
        (folder / f"{speaker}-198.trans.txt").write_text("".join(f"{name} WORDS OF {name[-4:]}\n" for name in names))


@pytest.mark.parametrize("below", ["", "LibriSpeech"])
def test_librispeech_tree(tmp_path, below):
    write_librispeech(tmp_path / below)
    rows = rows_of(tmp_path, "clean", "train.100")
    assert [(row["id"], row["speaker_id"]) for row in rows] == [("19-198-0000", "19"), ("19-198-0001", "19")]
    assert texts(rows) == ["WORDS OF 0000", "WORDS OF 0001"]
    assert rows == rows_of(tmp_path, None, "train-clean-100") == rows_of(tmp_path, None, "train.100")
    assert rows_of(tmp_path, "clean", "validation")[0]["speaker_id"] == "84"
    assert rows_of(tmp_path, "other", "test")[0]["speaker_id"] == "62"
    two = load_corpus(str(tmp_path), "clean", "validation+test")
    assert [corpus.name.rsplit("/", 1)[-1] for corpus in two] == ["validation", "test"]
    with pytest.raises(ValueError, match=r"no part 'test'.*dev-clean.*test-clean.*test-other.*train-clean-100"):
        load_corpus(str(tmp_path), split="test")


def test_one_missing_recording_does_not_stop_a_librispeech_tree(tmp_path):
    write_librispeech(tmp_path)
    next((tmp_path / "dev-clean").rglob("*.flac")).unlink()
    rows = list(load_corpus(str(tmp_path), "clean", "validation")[0].stream)
    assert len(rows) == 2
    with pytest.raises(AudioError):
        [open_audio(row["audio"], 16000) for row in rows]


def test_audio_folder(wavs):
    (wavs / "metadata.csv").write_text("file_name,transcription\nwavs/a.wav,one\nwavs/b.wav,two\n")
    assert texts(rows_of(wavs)) == ["one", "two"]
    with pytest.raises(ValueError, match="names no recording in a folder 'test'"):
        load_corpus(str(wavs), split="test")


def test_audio_folder_with_splits(wavs):
    (wavs / "wavs/metadata.csv").write_text("file_name,text\na.wav,one\n")
    assert texts(rows_of(wavs, split="wavs")) == ["one"]
    (wavs / "metadata.csv").write_text("file_name,text\nwavs/a.wav,uno\nother/x.wav,due\n")
    (wavs / "wavs/metadata.csv").unlink()
    assert texts(rows_of(wavs, split="wavs")) == ["uno"]


def test_an_audio_folder_names_only_files_of_its_own(wavs, tmp_path):
    """What somebody else has written is not obeyed; the file given by its name is one's own word."""
    outside = tmp_path / "elsewhere.wav"
    write_wav(outside)
    lines = ["file_name,text", "a.wav,one", f"{outside},two", "../elsewhere.wav,three", "http://10.0.0.1/a.wav,four"]
    metadata = wavs / "wavs" / "metadata.csv"
    metadata.write_text("\n".join(lines))
    refused = []
    for row in load_corpus(str(wavs / "wavs"))[0].stream:
        try:
            fetch_audio(row["audio"])
        except AudioError as error:
            assert "lies outside its corpus" in str(error)
            refused.append(row["text"])
    assert sorted(refused) == ["four", "three", "two"]
    metadata.write_text("\n".join(lines[:4]))
    assert sorted(texts(rows_of(metadata))) == ["one", "three", "two"]


def test_an_audio_folder_may_lie_beside_the_current_one(wavs, tmp_path, monkeypatch):
    """Only what is below the folder counts: `..` on the way to it is the user's own."""
    (wavs / "wavs" / "metadata.csv").write_text("file_name,text\na.wav,one\n../wavs/b.wav,two\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folder = os.path.relpath(wavs / "wavs")
    assert folder.startswith("..")
    (first, second) = load_corpus(folder)[0].stream
    assert fetch_audio(first["audio"]) == first["audio"] and first["text"] == "one"
    with pytest.raises(AudioError, match="lies outside its corpus"):
        fetch_audio(second["audio"])


def test_a_folder_of_test_recordings_is_not_trained_on(wavs):
    (wavs / "metadata.csv").write_text("file_name,text\nwavs/a.wav,one\ntest/b.wav,two\n")
    with pytest.raises(ValueError, match=r"no recording in a folder 'train', but some in test.*meant for scoring"):
        load_corpus(str(wavs), split="train")


def test_more_columns_are_kept(wavs):
    (wavs / "m.csv").write_text("audio,text,room\nwavs/a.wav,one,7\nwavs/b.wav,two,8\n")
    (corpus,) = load_corpus(str(wavs / "m.csv"), kept_columns=["room"])
    assert {row["id"]: row["room"] for row in corpus.stream} == {"wavs/a.wav": "7", "wavs/b.wav": "8"}


def test_kept_columns_may_have_any_name_and_holes(wavs):
    """Also those that a row of a list has by itself."""
    names = ["start_s", "name", "text_path"]
    (wavs / "m.csv").write_text("audio,text,start_s,name,text_path\nwavs/a.wav,one,soon,x,y\nwavs/b.wav,two\n")
    (corpus,) = load_corpus(str(wavs / "m.csv"), kept_columns=names)
    kept = {row["id"]: [row[name] for name in names] for row in corpus.stream}
    assert kept == {"wavs/a.wav": ["soon", "x", "y"], "wavs/b.wav": ["", "", ""]}
    assert {row["text"] for row in corpus.stream} == {"one", "two"}


def test_hub_layout_without_card(tmp_path):
    write_parquet(tmp_path / "clean/train.100/0000.parquet", ["x", "y"])
    write_parquet(tmp_path / "clean/train.100/0001.parquet", ["z"])
    rows = rows_of(tmp_path, "clean", "train.100")
    assert [row["id"] for row in rows] == ["x", "y", "z"] and rows[0]["speaker_id"] == "7"
    (corpus,) = load_corpus(str(tmp_path), "clean", "train.100")
    assert corpus.num_examples == 3 and corpus.stream.num_shards == 2
    assert isinstance(corpus.stream, datasets.IterableDataset)


CARD = """---
configs:
- config_name: clean
  data_files:
  - {split: train.100, path: data/train/*.parquet}
  - {split: test, path: data/test/*.parquet}
---
"""


def test_hub_layout_with_card(tmp_path):
    (tmp_path / "README.md").write_text(CARD)
    write_parquet(tmp_path / "data/train/0.parquet", ["x", "y"])
    write_parquet(tmp_path / "data/test/0.parquet", ["z"], text=[None])
    assert [row["id"] for row in rows_of(tmp_path, "clean", "train.100")] == ["x", "y"]
    assert texts(rows_of(tmp_path, "clean", "test")) == [None]
    assert [corpus.num_examples for corpus in load_corpus(str(tmp_path), "clean", "train.100+test")] == [2, 1]
    with pytest.raises(ValueError, match=r"cannot open split 'nope' of config 'clean'"):
        load_corpus(str(tmp_path), "clean", "nope")
    with pytest.raises(ValueError, match=r"cannot open split 'test' of config 'dirty'"):
        load_corpus(str(tmp_path), "dirty", "test")


def test_missing_ids_and_speakers(tmp_path):
    audio = [{"bytes": encoded(0.5), "path": "p.flac"}, {"bytes": encoded(0.5) + b"\0", "path": None}]
    write_parquet(tmp_path / "train/0.parquet", ["x", "y"], audio=audio, id=None, speaker_id=None)
    rows = rows_of(tmp_path)
    assert {row["speaker_id"] for row in rows} == {""}
    assert "p.flac" in {row["id"] for row in rows} and len({row["id"] for row in rows}) == 2


def test_hub_id_streams_by_name(tmp_path, monkeypatch):
    write_parquet(tmp_path / "0.parquet", ["x"])
    builder = datasets.load_dataset_builder("parquet", data_files={"train.100": str(tmp_path / "0.parquet")})
    asked = []
    monkeypatch.setattr(
        datasets, "load_dataset_builder", lambda *args, **kwargs: asked.append((args, kwargs)) or builder
    )
    (corpus,) = load_corpus("openslr/librispeech_asr", "clean", "train.100", revision="abc")
    assert asked == [(("openslr/librispeech_asr", "clean"), {"revision": "abc"})]
    assert corpus.name == "openslr/librispeech_asr/clean/train.100"
    assert [row["id"] for row in corpus.stream] == ["x"]


def test_synthetic(tmp_path, monkeypatch):
    write_parquet(tmp_path / "made/test/0000.parquet", ["x"])
    module = types.ModuleType("deepspeech2.data.synthesis.command_corpus")
    module.synthesize_commands = lambda root: tmp_path / "made"
    monkeypatch.setitem(sys.modules, "deepspeech2.data.synthesis.command_corpus", module)
    assert [row["id"] for row in rows_of("synthetic", split="test")] == ["x"]


def test_real_librispeech(librispeech_root):
    train, validation = (load_corpus(str(librispeech_root), "clean", split)[0] for split in ("train.100", "validation"))
    assert (train.num_examples, train.stream.num_shards, validation.num_examples) == (1308, 8, 181)
    row = next(iter(train.stream))
    samples = open_audio(row["audio"], 16000)
    assert abs(samples.size / 16000 - audio_duration_s(row["audio"])) < 0.01
    assert row["text"].isupper() and row["id"].startswith(row["speaker_id"] + "-")
