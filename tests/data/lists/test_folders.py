"""Folders and lists as corpora come: LJSpeech, Common Voice, Mozilla, SpeechBrain, NeMo, Kaldi, save_to_disk."""

import json
import shutil

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepspeech2.data.audio.recordings import AudioError, fetch_audio
from deepspeech2.data.corpora import load_corpus
from listings import LENGTHS_S, rows_of, told, write_clips
from sounds import encoded

TEXTS = {"a": "it is late, she said", "b": "so it is", "c": "the year nineteen ninety"}
EXPECTED = {name: (LENGTHS_S[name], TEXTS[name]) for name in "abc"}


def test_ljspeech(tmp_path):
    write_clips(tmp_path / "wavs")
    raw = TEXTS | {"c": "the year 1990"}
    (tmp_path / "metadata.csv").write_text("".join(f"{name}|{raw[name]}|{TEXTS[name]}\n" for name in "abc"))
    assert told(tmp_path) == told(tmp_path / "metadata.csv") == EXPECTED
    (tmp_path / "metadata.csv").write_text("".join(f"{name}|{TEXTS[name]}\n" for name in "abc"))
    assert told(tmp_path) == EXPECTED


def test_common_voice(tmp_path):
    write_clips(tmp_path / "clips", ".mp3")
    head = "client_id\tpath\tsentence_id\tsentence\tup_votes\n"
    for split, names in (("train", "ab"), ("dev", "c"), ("validated", "abc")):
        rows = "".join(f"s{name}\t{name}.mp3\tx\t{TEXTS[name]}\t2\n" for name in names)
        (tmp_path / f"{split}.tsv").write_text(head + rows)
    expected = {f"{name}.mp3": EXPECTED[name] for name in "abc"}
    assert told(tmp_path, "validated") == expected
    assert told(tmp_path) == {name: expected[name] for name in ("a.mp3", "b.mp3")}
    assert told(tmp_path, "dev") == told(tmp_path, "validation") == {"c.mp3": expected["c.mp3"]}
    assert told(tmp_path / "train.tsv") == told(tmp_path)
    assert [row["speaker_id"] for row in rows_of(tmp_path)] == ["sa", "sb"]
    with pytest.raises(ValueError, match=r"It holds the lists dev.tsv, train.tsv, validated.tsv: name one of them"):
        load_corpus(str(tmp_path), None, "test")


@pytest.mark.parametrize(
    "header, line",
    [
        ("wav_filename,wav_filesize,transcript", '{name}.wav,123,"{text}"'),
        ("ID,duration,wav,spk_id,wrd", '{name},4.2,{name}.wav,s,"{text}"'),
        (",Path,Sentence", '0,{name}.wav,"{text}"'),
        ("Unnamed: 0,FILE NAME , TEXT", '7,{name}.wav,"{text}"'),
        ("Audio-Filepath,Transcription", '{name}.wav,"{text}"'),
    ],
)
def test_columns_of_other_tools(tmp_path, header, line):
    write_clips(tmp_path)
    lines = [line.format(name=name, text=TEXTS[name]) for name in "abc"]
    (tmp_path / "list.CSV").write_text("\n".join([header, *lines]))
    found = told(tmp_path / "list.CSV")
    assert {id_.removesuffix(".wav"): value for id_, value in found.items()} == EXPECTED


def test_nemo_with_the_durations_of_whole_files(tmp_path):
    write_clips(tmp_path)
    rows = [{"audio_filepath": f"{name}.wav", "duration": 5.0, "text": TEXTS[name]} for name in "abc"]
    (tmp_path / "list.json").write_text("\n".join(map(json.dumps, rows)))
    assert told(tmp_path / "list.json") == {f"{name}.wav": EXPECTED[name] for name in "abc"}


def test_speechbrain_json(tmp_path):
    write_clips(tmp_path)
    rows = {name: {"wav": f"{{data_root}}/{name}.wav", "length": 1.0, "words": TEXTS[name]} for name in "abc"}
    (tmp_path / "list.json").write_text(json.dumps(rows))
    assert told(tmp_path / "list.json") == EXPECTED


@pytest.mark.parametrize("ending", [".FLAC", ".Wav"])
def test_a_librispeech_tree_in_capitals(tmp_path, ending):
    names = {f"19-198-000{place}": 0.2 + place / 10 for place in range(3)}
    chapter = write_clips(tmp_path / "test-clean" / "19" / "198", ending, names)
    (chapter / "19-198.TRANS.TXT").write_text("".join(f"{name} WORDS OF {name}\r\n" for name in names))
    with (chapter / "19-198.TRANS.TXT").open("a") as file:
        file.write("19-198-0009\tA MISSING ONE\n")
    expected = {name: (round(duration_s, 3), f"WORDS OF {name}") for name, duration_s in names.items()}
    expected["19-198-0009"] = "missing_file"
    assert told(tmp_path, "test-clean") == expected


def write_kaldi(folder, wav="{name} {name}.wav\n"):
    write_clips(folder)
    (folder / "wav.scp").write_text("".join(wav.format(name=name, folder=folder) for name in "abc"))
    (folder / "text").write_text("".join(f"{name} {TEXTS[name]}\n" for name in "abc"))
    (folder / "utt2spk").write_text("".join(f"{name} speaker-{name}\n" for name in "abc"))
    return folder


def test_kaldi(tmp_path, caplog):
    folder = write_kaldi(tmp_path / "train")
    assert told(tmp_path) == told(folder) == told(folder / "wav.scp") == EXPECTED
    assert [row["speaker_id"] for row in rows_of(folder)] == ["speaker-a", "speaker-b", "speaker-c"]
    (folder / "segments").write_text("u1 c 0 0.1\nu2 c 0.1 0.4\nu3 a 0.05 -1\n")
    (folder / "text").write_text("u1 one\nu2 two\nu3\nu4 four\n")
    assert told(folder) == {"u1": (0.1, "one"), "u2": (0.3, "two"), "u3": (0.15, "")}
    assert "has 1 transcripts without a recording, such as u4" in caplog.text


def test_kaldi_commands_are_not_executed(tmp_path):
    folder = write_kaldi(tmp_path / "train", "{name} touch {folder}/trace |\n")
    with pytest.raises(ValueError, match=r"entries of .*wav.scp' are commands, such as 'touch .*trace \|' of 'a'"):
        load_corpus(str(folder))
    (folder / "wav.scp").write_text(f"a touch {folder}/trace |\nb b.wav\nc c.wav\n")
    found = told(folder)
    assert found["a"].startswith("missing_file: the entry of 'a' is a command, which is not executed")
    assert {name: found[name] for name in "bc"} == {name: EXPECTED[name] for name in "bc"}
    assert not (folder / "trace").exists()


def test_a_folder_of_kaldi_names_only_its_own_files(tmp_path):
    folder = write_kaldi(tmp_path / "train", f"{{name}} {tmp_path}/secret/{{name}}.wav\n")
    write_clips(tmp_path / "secret")
    for row in rows_of(folder):
        with pytest.raises(AudioError, match="lies outside its corpus"):
            fetch_audio(row["audio"])
    assert told(folder / "wav.scp") == told(folder, audio_root=str(tmp_path / "secret")) == EXPECTED


def saved_dataset(audio=None) -> datasets.Dataset:
    recordings = [{"bytes": encoded(LENGTHS_S[name]), "path": f"{name}.flac"} for name in "abc"]
    columns = {"audio": audio or recordings, "text": list(TEXTS.values()), "id": list(TEXTS)}
    return datasets.Dataset.from_dict(columns)


@pytest.mark.parametrize("decode", [True, False, None])
def test_save_to_disk(tmp_path, decode):
    """With the audio as encoded bytes in a column of the kind Audio, or of no kind."""
    saved = saved_dataset()
    if decode is not None:
        saved = saved.cast_column("audio", datasets.Audio(decode=decode))
    saved.save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict(train=saved, test=saved.select([1])).save_to_disk(tmp_path / "two")
    assert told(tmp_path / "one") == told(tmp_path / "two") == EXPECTED
    assert told(tmp_path / "two", "test") == {"b": EXPECTED["b"]}
    with pytest.raises(ValueError, match="has no split 'dev'; its splits are train, test"):
        load_corpus(str(tmp_path / "two"), None, "dev")
    with pytest.raises(ValueError, match="single split 'train', written by save_to_disk"):
        load_corpus(str(tmp_path / "one"), None, "test")


def test_a_damaged_or_hostile_save_is_refused(tmp_path):
    saved_dataset().save_to_disk(tmp_path / "one")
    state = json.loads((tmp_path / "one" / "state.json").read_text())
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two" / "state.json").write_text(json.dumps(state | {"_data_files": [{"filename": "../one/x.arrow"}]}))
    with pytest.raises(ValueError, match=r"names '\.\./one/x.arrow'; expected files of its own folder"):
        load_corpus(str(tmp_path / "two"))
    next((tmp_path / "one").glob("*.arrow")).write_bytes(b"no arrow")
    with pytest.raises(ValueError, match="was written by save_to_disk, but cannot be read"):
        load_corpus(str(tmp_path / "one"))


def test_what_datasets_reads_without_a_card(tmp_path):
    """Parquet as push_to_hub lays it out, at the top or below data/; audio folders with metadata in parts."""
    recordings = [{"bytes": encoded(LENGTHS_S[name]), "path": f"{name}.flac"} for name in "abc"]
    table = pa.table({"audio": recordings, "text": list(TEXTS.values()), "id": list(TEXTS)})
    for place in ("top/train-00000-of-00001.parquet", "below/data/train-00000-of-00001.parquet", "one/any.parquet"):
        path = tmp_path / place
        path.parent.mkdir(parents=True)
        pq.write_table(table, path)
        assert told(tmp_path / place.split("/")[0]) == EXPECTED
    with pytest.raises(ValueError, match="has no split 'test'; its splits are train"):
        load_corpus(str(tmp_path / "top"), None, "test")
    for split in ("train", "test"):
        folder = write_clips(tmp_path / "folder" / "data" / split)
        names = "".join(f'{{"file_name": "{name}.wav", "text": "{TEXTS[name]}", "id": "{name}"}}\n' for name in "abc")
        (folder / "metadata.jsonl").write_text(names)
    assert {row["id"]: row["text"] for row in load_corpus(str(tmp_path / "folder"), None, "test")[0].stream} == TEXTS


def test_parquet_files_with_different_columns(tmp_path):
    recordings = {name: [{"bytes": encoded(LENGTHS_S[name]), "path": f"{name}.flac"}] for name in "abc"}
    (tmp_path / "train").mkdir()
    tables = [
        {"audio": recordings["a"], "text": [TEXTS["a"]]},
        {"text": [TEXTS["b"]], "audio": recordings["b"], "id": [7], "speaker_id": pa.nulls(1)},
        {"audio": recordings["c"], "text": [TEXTS["c"]], "id": ["x7"], "speaker_id": ["s"]},
    ]
    for number, table in enumerate(tables):
        pq.write_table(pa.table(table), tmp_path / "train" / f"{number}.parquet")
    assert told(tmp_path) == {"a.flac": EXPECTED["a"], "7": EXPECTED["b"], "x7": EXPECTED["c"]}
    pq.write_table(pa.table({"audio": [b"x"], "text": ["y"]}), tmp_path / "train" / "3.parquet")
    with pytest.raises(
        ValueError, match=r"Parquet files of one split differ, .* audio .*write all of them with the same"
    ):
        load_corpus(str(tmp_path))


def test_clips_that_were_cut_before_are_whole(tmp_path, caplog):
    """The times in their source are information; if they were taken for a part of the clip, most would be lost."""
    caplog.set_level("INFO")
    write_clips(tmp_path)
    rows = "".join(
        f"{name}.wav,{TEXTS[name].replace(',', '')},{place},{place + LENGTHS_S[name]}\n"
        for place, name in enumerate("abc")
    )
    (tmp_path / "metadata.csv").write_text("file_name,text,start_s,end_s\n" + rows)
    assert [value[0] for value in told(tmp_path).values()] == list(LENGTHS_S.values())
    assert "start_s and end_s are the times of whole files" in caplog.text


def test_parts_of_a_recording_with_its_id_are_told_apart(tmp_path):
    write_clips(tmp_path)
    rows = ["a,a.wav,0,0.2,one", "c,c.wav,0,0.1,two", "c,c.wav,0.1,0.3,three"]
    (tmp_path / "list.csv").write_text("\n".join(["id,path,start,end,text", *rows]))
    assert told(tmp_path / "list.csv") == {"a": (0.2, "one"), "c#t=0,0.1": (0.1, "two"), "c#t=0.1,0.3": (0.2, "three")}


def test_files_of_transcripts(tmp_path):
    """In the encodings that tell which they are; others are named."""
    write_clips(tmp_path)
    texts = {"a": "süß".encode("utf-16"), "b": "\ufeffsüß\r\n".encode(), "c": "süß".encode("latin-1")}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_bytes(text)
    lines = "".join(f"{name}.wav,{name}.txt\n" for name in "abc") + "a.wav,missing.txt\n"
    for header in ("", "wav,transcript\n"):
        (tmp_path / "list.csv").write_text(header + lines)
        found = {row["text"] or row["fault"] for row in rows_of(tmp_path / "list.csv")}
        assert len(found) == 3 and "süß" in found
        reasons = sorted(one for one in found if one != "süß")
        assert "c.txt': it is not UTF-8 text" in reasons[0] and "missing.txt', does not exist" in reasons[1]


def test_rows_of_one_recording_without_their_spans_are_said(tmp_path, caplog):
    write_clips(tmp_path)
    (tmp_path / "list.csv").write_text("path,text,from,to\na.wav,one,0,0.1\na.wav,two,0.1,0.2\nb.wav,x,0,0.3\n")
    rows_of(tmp_path / "list.csv")
    assert "1 recordings have several rows with different texts, such as 'a.wav'" in caplog.text


@pytest.mark.parametrize("name", ["start", "start_time", "begin"])
def test_spans_are_read_by_their_samples(tmp_path, name):
    write_clips(tmp_path)
    rows = [{"audio": "c.wav", "text": str(place), name: place / 10, "duration": 0.1} for place in range(4)]
    rows += [{"audio": "c.wav", "text": "late", name: 0.3, "duration": 5}, {"audio": "c.wav", "text": "odd", name: "x"}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = told(tmp_path / "list.jsonl")
    assert found == {
        "c.wav#t=0,0.1": (0.1, "0"),
        "c.wav#t=0.1,0.2": (0.1, "1"),
        "c.wav#t=0.2,0.3": (0.1, "2"),
        "c.wav#t=0.3,0.4": (0.1, "3"),
        "c.wav#t=0.3,5.3": "bad_span",
        "c.wav": f"bad_span: {name} is 'x'; expected a number of seconds",
    }
    assert fetch_audio(rows_of(tmp_path / "list.jsonl")[1]["audio"])["start_s"] == 0.0
