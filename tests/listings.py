"""Clips of known lengths, and what a list makes of them, for the tests of lists."""

from pathlib import Path

import soundfile

from deepspeech2.data.audio.recordings import AudioError, audio_duration_s
from deepspeech2.data.corpora import load_corpus
from sounds import tone

LENGTHS_S = {"a": 0.2, "b": 0.3, "c": 0.4}  # a clip is known by its length


def write_clips(folder: Path, ending: str = ".wav", names: dict[str, float] = LENGTHS_S) -> Path:
    """Write a clip for each name, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, duration_s in names.items():
        soundfile.write(folder / (name + ending), tone(duration_s), 16000, format="WAV")
    return folder


def rows_of(name: Path | str, split: str = "train", **options) -> list[dict]:
    """The rows of a corpus, sorted by id; as many as it says that it has."""
    (corpus,) = load_corpus(str(name), None, split, **options)
    rows = list(corpus.stream)
    assert corpus.num_examples == len(rows)
    return sorted(rows, key=lambda row: row["id"])


def told(name: Path | str, split: str = "train", **options) -> dict[str, tuple]:
    """The length in seconds and the text of each id, or the reason why the row is dropped."""
    found = {}
    for row in rows_of(name, split, **options):
        assert row["id"] not in found, "each row has an id of its own"
        if row["fault"]:
            found[row["id"]] = row["fault"]
            continue
        try:
            found[row["id"]] = (round(audio_duration_s(row["audio"]), 3), row["text"])
        except AudioError as error:
            found[row["id"]] = error.reason
    return found
