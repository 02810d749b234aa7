r"""The recordings of a list are found where people have them: other folders, other machines, `\`, `.WAV`."""

import os
import shutil
import unicodedata

import pytest

from deepspeech2.data.corpora import load_corpus
from listings import LENGTHS_S, told, write_clips

EXPECTED = {name: (duration_s, f"text of {name}") for name, duration_s in LENGTHS_S.items()}


def write_list(path, name_of, sep=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [sep.join((f"{name_of(name)}", f"text of {name}", name)) for name in LENGTHS_S]
    path.write_text("\n".join([sep.join(("path", "sentence", "id")), *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("below", ["clips", "wavs", "audio"])
def test_clips_in_a_folder_beside_the_list(tmp_path, below, caplog):
    caplog.set_level("INFO")
    write_clips(tmp_path / below)
    assert told(write_list(tmp_path / "train.tsv", "{}.wav".format, "\t")) == EXPECTED
    assert f"a.wav is found at {tmp_path / below}/a.wav" in caplog.text


@pytest.mark.parametrize("ending, listed", [(".wav", "{}"), (".WAV", "{}.wav"), (".wav", "{}.WAV"), (".WAV", "{}")])
def test_other_endings(tmp_path, ending, listed):
    write_clips(tmp_path / "clips", ending)
    assert told(write_list(tmp_path / "train.csv", listed.format)) == EXPECTED
    assert told(write_list(tmp_path / "deep.csv", f"clips/{listed}".format)) == EXPECTED


def test_recordings_that_were_converted_after_the_list_was_written(tmp_path):
    """Common Voice's list names MP3 files."""
    write_clips(tmp_path / "clips", ".wav")
    assert told(write_list(tmp_path / "train.tsv", "{}.mp3".format, "\t")) == EXPECTED


def test_a_file_of_the_very_name_comes_first(tmp_path):
    write_clips(tmp_path)
    write_clips(tmp_path / "clips", names=dict.fromkeys(LENGTHS_S, 0.9))
    assert told(write_list(tmp_path / "train.csv", "{}.wav".format)) == EXPECTED


def test_relative_paths_of_windows(tmp_path):
    write_clips(tmp_path / "deep" / "clips")
    assert told(write_list(tmp_path / "train.csv", r"deep\clips\{}.wav".format)) == EXPECTED
    (tmp_path / r"odd\name.wav").write_bytes((tmp_path / "deep" / "clips" / "a.wav").read_bytes())
    (tmp_path / "odd.csv").write_text("path,text\nodd\\name.wav,x\n")
    assert told(tmp_path / "odd.csv") == {r"odd\name.wav": (0.2, "x")}, "a backslash may be part of a name"


@pytest.mark.parametrize(
    "listed",
    [
        "C:\\Users\\me\\corpus\\clips\\{}.wav",
        "D:/corpus/clips/{}.wav",
        "\\\\server\\share\\clips\\{}.wav",
        "/home/other/corpus/clips/{}.wav",
        "corpus/clips/{}.wav",
        "clips/{}.wav",
        "{}.wav",
        "clips\\{}.wav",
    ],
)
@pytest.mark.parametrize("kept", ["", "clips", "corpus/clips"])
def test_recordings_that_have_moved(tmp_path, listed, kept):
    """Whatever of the old folders is still there below audio_root."""
    write_clips(tmp_path / "new" / kept)
    manifest = write_list(tmp_path / "lists" / "train.csv", listed.format)
    with pytest.raises(ValueError, match=r"no recording of the manifest .* --audio_root FOLDER") as error:
        load_corpus(str(manifest))
    assert ("of Windows" in str(error.value)) == ("\\" in listed or listed[1] == ":")
    assert "\\\\\\\\" not in str(error.value)
    if kept in ("", "clips") or f"{kept}/" in listed.replace("\\", "/"):
        assert told(manifest, audio_root=str(tmp_path / "new")) == EXPECTED


def test_files_of_the_same_name_in_different_folders_stay_apart(tmp_path):
    for folder, names in (("x", {"a": 0.2}), ("y", {"a": 0.3})):
        write_clips(tmp_path / "new" / folder, names=names)
    (tmp_path / "train.csv").write_text("path,text\n/old/x/a.wav,one\n/old/y/a.wav,two\n")
    found = {"/old/x/a.wav": (0.2, "one"), "/old/y/a.wav": (0.3, "two")}
    assert told(tmp_path / "train.csv", audio_root=str(tmp_path / "new")) == found
    shutil.rmtree(tmp_path / "new" / "y")
    (tmp_path / "new" / "a.wav").write_bytes((tmp_path / "new" / "x" / "a.wav").read_bytes())
    assert told(tmp_path / "train.csv", audio_root=str(tmp_path / "new"))["/old/y/a.wav"] == "missing_file"


def test_audio_root_is_tried_before_the_folder_of_the_list(tmp_path):
    write_clips(tmp_path / "new")
    write_clips(tmp_path / "lists", names=dict.fromkeys(LENGTHS_S, 0.9))
    manifest = write_list(tmp_path / "lists" / "train.csv", "{}.wav".format)
    assert told(manifest, audio_root=str(tmp_path / "new")) == EXPECTED
    (tmp_path / "empty").mkdir()
    assert told(manifest, audio_root=str(tmp_path / "empty"))["a"][0] == 0.9
    with pytest.raises(ValueError, match="audio_root 'nowhere' is not a folder"):
        load_corpus(str(manifest), audio_root="nowhere")


@pytest.mark.parametrize("missing", [[0], [1], [0, 1]])
def test_missing_recordings_are_dropped_one_by_one(tmp_path, missing):
    """Also the first."""
    write_clips(tmp_path)
    for place in missing:
        (tmp_path / f"{'abc'[place]}.wav").unlink()
    dropped = dict.fromkeys(("abc"[place] for place in missing), "missing_file")
    assert told(write_list(tmp_path / "train.csv", "{}.wav".format)) == EXPECTED | dropped


def test_other_ways_to_write_a_path(tmp_path, monkeypatch):
    write_clips(tmp_path / "näch ste")
    monkeypatch.setenv("HOME", str(tmp_path))
    os.symlink(tmp_path / "näch ste" / "a.wav", tmp_path / "link.wav")
    ways = [
        f"file://{tmp_path}/n%C3%A4ch%20ste/a.wav",
        "~/näch ste/a.wav",
        " näch ste/a.wav ",
        "./näch ste/../näch ste/a.wav",
        unicodedata.normalize("NFC", "näch ste/a.wav"),
        "{data_root}/näch ste/a.wav",
        "link.wav",
    ]
    (tmp_path / "train.csv").write_text("id,path,text\n" + "".join(f"{i},{way},x\n" for i, way in enumerate(ways)))
    assert told(tmp_path / "train.csv") == {str(i): (0.2, "x") for i in range(len(ways))}


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_another_normal_form(tmp_path, forms):
    """As macOS stores them."""
    on_disk, listed = (unicodedata.normalize(form, "é") for form in forms)
    write_clips(tmp_path, names={on_disk: 0.2})
    (tmp_path / "train.csv").write_text(f"id,path,text\n1,{listed}.wav,x\n", encoding="utf-8")
    assert told(tmp_path / "train.csv") == {"1": (0.2, "x")}


@pytest.mark.parametrize("value", [3, True, ["a.wav"], {"x": 1}, [0.1] * 10_000])
def test_cells_that_name_no_file(tmp_path, value):
    import json

    write_clips(tmp_path)
    rows = [{"audio": "a.wav", "text": "x", "id": "1"}, {"audio": value, "text": "y", "id": "2"}]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    found = told(tmp_path / "train.json")
    assert found["1"] == (0.2, "x") and found["2"].startswith("missing_file: the recording is ")
    assert len(found["2"]) < 300
