"""Recordings in the columns of Parquet files, in whatever form: encoded, as samples, as paths; ids of their own."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepspeech2.data.audio.recordings import open_audio
from deepspeech2.data.corpora import load_corpus
from deepspeech2.data.lists.cells import MAX_ID
from deepspeech2.data.streams import EvaluationStream
from listings import LENGTHS_S, rows_of, told, write_clips
from sounds import encoded, tone
from tiny import new_model

RATE = 8000
SAMPLES = [tone(duration_s, RATE)[:, 0].astype(np.float32) for duration_s in LENGTHS_S.values()]
ROUNDED = [np.round(samples * 32767).astype(int).tolist() for samples in SAMPLES]


def write(folder, audio, **columns):
    (folder / "train").mkdir(parents=True)
    pq.write_table(
        pa.table({"audio": audio, "text": ["one", "two", "three"]} | columns), folder / "train" / "0.parquet"
    )
    return folder


def decoded(folder, **options) -> dict[str, np.ndarray]:
    """The samples of each text. Each row has an id of its own, and a short one."""
    rows = rows_of(folder, **options)
    assert len({row["id"] for row in rows}) == len(rows) and max(len(row["id"]) for row in rows) <= MAX_ID
    assert not [row["fault"] for row in rows if row["fault"]]
    return {row["text"]: open_audio(row["audio"], RATE) for row in rows}


@pytest.mark.parametrize(
    "form",
    [
        lambda samples, whole: {"array": samples, "sampling_rate": RATE},
        lambda samples, whole: {"array": samples, "sampling_rate": float(RATE), "path": None},
        lambda samples, whole: {"array": samples.astype(float), "sampling_rate": RATE, "bytes": None},
        lambda samples, whole: {"array": whole, "sampling_rate": RATE},
        lambda samples, whole: {"array": [samples] * 2, "sampling_rate": RATE},
        lambda samples, whole: {"array": np.stack([samples, samples], axis=1).tolist(), "sampling_rate": RATE},
    ],
)
def test_samples_and_their_rate(tmp_path, form):
    found = decoded(write(tmp_path, [form(*both) for both in zip(SAMPLES, ROUNDED, strict=True)]))
    for text, samples in zip(("one", "two", "three"), SAMPLES, strict=True):
        assert found[text].size == samples.size and np.abs(found[text] - samples).max() < 1 / 32767


def test_samples_come_back_bit_by_bit(tmp_path):
    found = decoded(write(tmp_path, [{"array": samples, "sampling_rate": RATE} for samples in SAMPLES]))
    assert all(
        np.array_equal(found[text], samples) for text, samples in zip(("one", "two", "three"), SAMPLES, strict=True)
    )


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_plain_bytes(tmp_path, kind):
    audio = pa.array([encoded(duration_s, RATE) for duration_s in LENGTHS_S.values()], kind)
    found = decoded(write(tmp_path, audio))
    assert {text: clip.size / RATE for text, clip in found.items()} == {
        "one": 0.2,
        "two": 0.3,
        "three": 0.4,
    }


def test_a_rate_beside_the_samples(tmp_path):
    audio = [samples.tolist() for samples in SAMPLES]
    found = decoded(write(tmp_path, audio, sampling_rate=[RATE] * 3))
    assert np.array_equal(found["three"], SAMPLES[2])


def test_paths_with_spans(tmp_path):
    """Rows that name files may be parts of them, as in a list. Recordings in the table are whole."""
    folder = write(tmp_path / "paths", ["c.wav"] * 3, offset=[0.0, 0.1, 0.2], duration=[0.1, 0.1, 0.2])
    write_clips(folder)
    assert told(folder) == {
        "c.wav#t=0,0.1": (0.1, "one"),
        "c.wav#t=0.1,0.2": (0.1, "two"),
        "c.wav#t=0.2,0.4": (0.2, "three"),
    }
    audio = [{"bytes": encoded(duration_s), "path": f"{name}.wav"} for name, duration_s in LENGTHS_S.items()]
    whole = write(tmp_path / "cut", audio, begin_time=[0.0, 3.0, 9.0], end_time=[0.1, 3.1, 9.2])
    assert {value[0] for value in told(whole).values()} == {0.2, 0.3, 0.4}


@pytest.mark.parametrize(
    "audio, message",
    [
        ([samples.tolist() for samples in SAMPLES], r"lists of numbers without a sampling rate; write \{'array'"),
        ([1, 2, 3], "holds values of the type int64; expected recordings"),
        ([True] * 3, "holds values of the type bool; expected recordings"),
        ([{"url": "x"}] * 3, "expected recordings: their encoded bytes"),
    ],
)
def test_columns_without_recordings_are_refused_when_they_are_opened(tmp_path, audio, message):
    with pytest.raises(ValueError, match=rf"the column 'audio' of .* {message}") as error:
        load_corpus(str(write(tmp_path, audio)))
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("text", [[["a", "b"]] * 3, [1, 2, 3], [True] * 3, [{"a": "b"}] * 3, [0.5] * 3])
def test_columns_without_transcripts_are_refused_when_they_are_opened(tmp_path, text):
    audio = [encoded(duration_s) for duration_s in LENGTHS_S.values()]
    with pytest.raises(ValueError, match=r"the column 'text' of .* holds .*; expected strings.*text_column"):
        load_corpus(str(write(tmp_path, audio, text=text)))
    assert [row["text"] for row in rows_of(tmp_path, text_column=None)] == [None] * 3


@pytest.mark.parametrize(
    "audio, reason",
    [
        ({"array": [0.1, 0.2], "sampling_rate": 0}, "undecodable: the sampling rate of the samples is 0"),
        ({"array": [0.1, 0.2], "sampling_rate": None}, "undecodable: the sampling rate of the samples is None"),
        ({"array": [], "sampling_rate": RATE}, "empty_audio"),
        ({"array": None, "sampling_rate": RATE}, "missing_file"),
        (None, "missing_file"),
    ],
)
def test_a_row_that_cannot_be_used_is_dropped_by_name(tmp_path, audio, reason):
    good = [{"array": samples, "sampling_rate": RATE} for samples in SAMPLES[:2]]
    found = {
        value[1] if isinstance(value, tuple) else value for value in told(write(tmp_path, [*good, audio])).values()
    }
    assert {"one", "two"} < found and any(one.startswith(reason) for one in found)


def test_missing_texts_of_parquet(tmp_path):
    audio = [encoded(duration_s) for duration_s in LENGTHS_S.values()]
    write(tmp_path, audio, text=["one", None, "nan"], id=["1", "2", "3"])
    found = told(tmp_path)
    assert found["1"] == (0.2, "one") and found["2"] == (0.3, None)
    assert found["3"].startswith("missing_text: the transcript is 'nan'")


def test_long_ids_and_paths_are_shortened(tmp_path):
    audio = [{"bytes": encoded(duration_s), "path": f"{'p' * 10_000}{name}"} for name, duration_s in LENGTHS_S.items()]
    decoded(write(tmp_path / "paths", audio))
    decoded(write(tmp_path / "ids", audio, id=[f"{'i' * 10_000}{name}" for name in "abc"]))


def test_class_labels_are_their_names(tmp_path):
    import datasets

    audio = [encoded(duration_s) for duration_s in LENGTHS_S.values()]
    features = datasets.Features(
        {
            "audio": datasets.Value("binary"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
            "id": datasets.Value("string"),
        }
    )
    rows = {"audio": audio, "label": [1, 0, 1], "id": ["1", "2", "3"]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path)
    assert [row["text"] for row in rows_of(tmp_path, text_column="label")] == ["yes", "no", "yes"]


@pytest.fixture
def odd_names(tmp_path):
    """Recordings whose names are not UTF-8, and one that is missing in a list of them."""
    folder = write_clips(tmp_path / "odd")
    for name, byte in (("a", b"\xe9"), ("b", b"\xea")):
        os.rename(folder / f"{name}.wav", os.path.join(os.fsencode(folder), b"caf" + byte + b".wav"))
    return folder


def test_names_that_are_not_utf_8(odd_names):
    expected = {r"caf\xe9.wav": (0.2, None), r"caf\xea.wav": (0.3, None), "c.wav": (0.4, None)}
    assert told(odd_names, text_column=None) == expected
    (corpus,) = load_corpus(str(odd_names), text_column=None)
    stream = EvaluationStream([corpus], new_model()[1], batch_size=8, transcribed=False, drops_dir=odd_names / "drops")
    assert sorted(name for batch in stream for name in batch["ids"]) == sorted(expected)


def test_names_that_are_not_utf_8_in_lists_of_folders(odd_names):
    """The folder itself, the list of a Kaldi folder, and a recording that is not audio."""
    root = os.fsencode(odd_names) + b"-\xff"
    os.rename(odd_names, root)
    with open(os.path.join(root, b"wav.scp"), "wb") as file:
        file.write(b"u1 c.wav\nu2 missing.wav\n")
    with open(os.path.join(root, b"text"), "wb") as file:
        file.write(b"u1 one\nu2 two\n")
    folder = os.fsdecode(root)
    assert told(folder) == {"u1": (0.4, "one"), "u2": "missing_file"}
    os.remove(os.path.join(root, b"wav.scp"))
    with open(os.path.join(root, b"caf\xe9.wav"), "wb") as file:
        file.write(b"no audio")
    (corpus,) = load_corpus(folder, text_column=None)
    drops = odd_names.parent / "drops"
    stream = EvaluationStream([corpus], new_model()[1], batch_size=8, transcribed=False, drops_dir=drops)
    assert sorted(name for batch in stream for name in batch["ids"]) == ["c.wav", r"caf\xea.wav"]
    assert stream.drop_counts() == {"undecodable": 1} and r"caf\xe9.wav" in stream.drop_summary()


def test_one_path_for_all_recordings_is_no_name(tmp_path):
    """Such as audio.wav, which some programs write: held_out_share would hold out all rows or none."""
    wavs = [{"bytes": encoded(duration_s, RATE), "path": "audio.wav"} for duration_s in LENGTHS_S.values()]
    assert len({row["id"] for row in rows_of(write(tmp_path / "same", wavs))}) == 3
    wavs[0]["path"] = "other.wav"
    found = [row["id"] for row in rows_of(write(tmp_path / "names", wavs))]
    assert sorted(found) == ["audio.wav", "audio.wav", "other.wav"]
