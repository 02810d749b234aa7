"""A model as its own teacher: its confidence by hand, its table as training reads it."""

import csv
import io
import re
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

import tiny
from deepspeech2.data.corpora import load_corpus
from deepspeech2.data.splits import load_train_corpora
from deepspeech2.inference.pseudo_labels import ClipStream, load_teacher
from deepspeech2.inference.pseudo_labels.teachers import OwnTeacher, confidences

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "pseudo_label.py"


def test_confidence_is_the_geometric_mean_over_letters():
    """
    Blank (0) at 0.9, letters at 0.8 and 0.5, and a frame of padding that would say 1: sqrt(0.8 x 0.5); of nothing but
    blanks 0.
    """
    logits = torch.tensor(
        [
            [[0.9, 0.1], [0.2, 0.8], [0.5 - 1e-6, 0.5 + 1e-6], [1e-9, 1.0]],
            [[0.9, 0.1]] * 4,
        ]
    ).log()
    found = confidences(logits, torch.tensor([3, 4]), 0)
    assert found.tolist() == pytest.approx([(0.8 * 0.5) ** 0.5, 0.0], abs=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six recordings without a list, and a model of random weights, saved, that hears letters and hardly a blank."""
    folder = tmp_path_factory.mktemp("speech")
    tiny.write_corpus(folder / "recordings", "u", 6)
    (folder / "recordings" / "u.csv").unlink()
    torch.manual_seed(0)
    model, processor = tiny.new_model()
    with torch.no_grad():
        model.ctc_head.weight *= torch.tensor([0.0, 1, 3, 3, 3])[:, None]
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return folder


def label(folder, *options: str) -> list[dict]:
    output = folder / "labels.csv"
    if "--output_file" in options:
        output = Path(options[options.index("--output_file") + 1])
    else:
        options += ("--output_file", str(output))
    words = [str(folder / "model"), "--dataset_name", str(folder / "recordings"), *options]
    runpy.run_path(str(RECIPE))["main"](words)
    return read(output)


def read(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("remote", "workers"), [(False, 2), (True, 1)])
def test_speech_from_a_server_has_one_reader(folder, monkeypatch, remote, workers):
    """Each worker would ask for all of it. The loader is the recipe's, on a machine with a GPU and 2 free cores."""
    corpora = [replace(corpus, remote=remote) for corpus in load_corpus(str(folder / "recordings"), text_column=None)]
    monkeypatch.setattr("deepspeech2.data.splits.load_unlabelled", lambda data: corpora)
    monkeypatch.setattr("deepspeech2.system.devices.count_readers", lambda device: 2)
    loaders = []
    monkeypatch.setattr(
        "deepspeech2.inference.pseudo_labels.label",
        lambda teacher, loader, journal: loaders.append(loader) or SimpleNamespace(write=lambda *given: ""),
    )
    label_options = ["--dataset_name", "speech", "--output_file", str(folder / f"remote_{remote}.csv")]
    runpy.run_path(str(RECIPE))["main"]([str(folder / "model"), *label_options])
    assert [loader.num_workers for loader in loaders] == [workers]


def test_the_recipe_keeps_what_the_model_is_sure_of(folder, capsys):
    every = label(folder, "--min_confidence", "0")
    assert [row["id"] for row in every] == [f"u{index}.wav" for index in range(6)]
    assert "6 of 6 utterances" in capsys.readouterr().out
    sure = sorted(float(row["confidence"]) for row in every)
    assert 0.2 < sure[0] < sure[-1] < 1  # of 5 symbols the likeliest has at least 1 / 5
    least = (sure[2] + sure[3]) / 2
    kept = label(folder, "--min_confidence", str(least))
    assert kept == [row for row in every if float(row["confidence"]) > least] and len(kept) == 3
    printed = capsys.readouterr().out
    assert "3 of 6 utterances" in printed and "left out: 3 low_confidence" in printed
    left_out = {row["id"]: (row["reason"], row["detail"], row["text"]) for row in read(folder / "labels.left_out.csv")}
    rest = [row for row in every if row not in kept]
    assert left_out == {row["id"]: ("low_confidence", row["confidence"], row["text"]) for row in rest}

    with pytest.raises(ValueError, match=r"none of 6 utterances has a confidence of 0.999.*lower --min_confidence"):
        label(folder, "--min_confidence", "0.999")

    for data in (
        tiny.data_arguments(folder / "recordings", transcripts=[str(folder / "labels.csv")]),
        tiny.data_arguments(folder / "labels.csv"),
    ):
        ((corpus,),) = load_train_corpora(data)
        assert {row["id"]: row["text"] for row in corpus.stream} == {row["id"]: row["text"] for row in kept}


def test_labels_are_the_models_transcripts(folder):
    model, processor = tiny.new_model()
    (batch,) = tiny.batches(tiny.write_corpus(folder / "told", "u", 4), model, processor, 1, 4, folder)
    model.save_pretrained(folder / "other")
    processor.save_pretrained(folder / "other")
    inputs = {name: batch[name] for name in ("input_features", "attention_mask")}
    labels = load_teacher(str(folder / "other"), torch.device("cpu")).transcribe([inputs])
    outputs = model.eval()(**inputs)
    assert [one.text for one in labels] == processor.batch_decode(outputs.logits.argmax(-1))
    expected = confidences(outputs.logits.detach(), outputs.output_lengths, 0).tolist()
    assert [one.confidence for one in labels] == pytest.approx(expected, abs=1e-6)


def test_a_killed_run_goes_on_where_it_was(folder, tmp_path, monkeypatch):
    """Killed in the middle of its fourth transcript: the second run makes three, and the table is the same."""
    whole = label(folder, "--min_confidence", "0", "--output_file", str(tmp_path / "whole.csv"))
    journal = (tmp_path / "whole.journal-0.jsonl").read_text().splitlines(keepends=True)
    assert len(journal) == 1 + 6
    (tmp_path / "part.journal-0.jsonl").write_text("".join(journal[:4]) + journal[4][:20])
    made = []
    transcribe = OwnTeacher.transcribe
    monkeypatch.setattr(
        OwnTeacher, "transcribe", lambda self, inputs: made.extend(found := transcribe(self, inputs)) or found
    )
    assert label(folder, "--min_confidence", "0", "--output_file", str(tmp_path / "part.csv")) == whole
    assert len(made) == 3
    again = (tmp_path / "part.journal-0.jsonl").read_text().splitlines(keepends=True)
    assert sorted(again) == sorted(journal)

    # Another number of processes left a file of its own.
    (tmp_path / "two.journal-0.jsonl").write_text("".join(journal[:3]))
    (tmp_path / "two.journal-1.jsonl").write_text(journal[0] + "".join(journal[3:]))
    assert label(folder, "--min_confidence", "0", "--output_file", str(tmp_path / "two.csv")) == whole
    assert len(made) == 3


def test_another_teacher_or_setting_is_refused(folder, tmp_path):
    output = ("--output_file", str(tmp_path / "labels.csv"), "--min_confidence", "0")
    label(folder, *output)
    with pytest.raises(ValueError, match=r"another run: max_duration_s was 20.0, and is 10.0 now\. Give the same"):
        label(folder, *output, "--max_duration_s", "10")
    journal = tmp_path / "labels.journal-0.jsonl"
    journal.write_text(journal.read_text().replace("/model (", "/other ("))
    with pytest.raises(ValueError, match=r"another run: teacher was '.*/other .*', and is '.*/model .*' now"):
        label(folder, *output)
    journal.write_text("hello\n")
    with pytest.raises(ValueError, match=r"is not a journal of this command .*; remove it"):
        label(folder, *output)


def test_nothing_is_lost_without_a_reason(folder, tmp_path, capsys):
    """A file that is no audio, one of 0.05 s, one id twice, 25 s of silence; and 25 s of speech, in parts or whole."""
    rng = np.random.default_rng(0)
    (tmp_path / "web.wav").write_text("<html>")
    talk = np.concatenate([tiny.tones("abcab ", rng), 0.01 * rng.standard_normal(round(4.28 * tiny.RATE))])
    clips = {"tick": tiny.tones("a", rng)[:400], "mute": np.zeros(25 * tiny.RATE), "talk": np.tile(talk, 5)}
    for name, samples in clips.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, tiny.RATE)
    names = ["web", "tick", "mute", "talk", "talk"]
    (tmp_path / "list.csv").write_text("audio,id,speaker_id\n" + "".join(f"{name}.wav,{name},ann\n" for name in names))
    given = ("--dataset_name", str(tmp_path / "list.csv"), "--min_confidence", "0")
    words = [str(folder / "model"), *given, "--output_file", str(tmp_path / "labels.csv")]
    for _ in range(2):  # a finished run says the same again
        runpy.run_path(str(RECIPE))["main"](words)
        rows = read(tmp_path / "labels.csv")
        assert len(rows) == 5 and {row["speaker_id"] for row in rows} == {"ann"}
        left_out = sorted((row["id"], row["reason"]) for row in read(tmp_path / "labels.left_out.csv"))
        expected = [("mute", "silent"), ("talk", "duplicate_id"), ("tick", "too_short"), ("web", "undecodable")]
        assert left_out == expected
        printed = capsys.readouterr().out
        assert "left out: 1 " in printed and "1 duplicate_id" in printed
        # Five times 0.6 s of speech, of which each keeps 0.5 s of silence before and after it: 50 - 3 - 9 x 0.5 s.
        cut = re.search(r"2 long recordings are cut into 5 parts, without (\d+) s of long silence", printed)
        assert cut and float(cut[1]) == pytest.approx(42.5, abs=1)


def test_recordings_in_a_table_stay_whole_or_are_left_out(folder, tmp_path, capsys):
    """Two of 2 s, one of 9 s: there is no file to name parts of."""
    rng = np.random.default_rng(0)
    rows = []
    for name, letters in {"a": "abcab " * 3, "b": "bca ab" * 3, "c": "abc ba" * 13}.items():
        content = io.BytesIO()
        soundfile.write(content, tiny.tones(letters, rng), tiny.RATE, format="WAV")
        rows.append({"id": name, "text": "", "audio": {"bytes": content.getvalue(), "path": f"{name}.wav"}})
    (tmp_path / "speech" / "train").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "speech" / "train" / "0000.parquet")
    corpora = load_corpus(str(tmp_path / "speech"), None, "train", text_column=None)
    made = {}
    for longest_s in (None, 5.0):
        stream = ClipStream(corpora, list, tiny.RATE, longest_s=longest_s, max_duration_s=3.0, batch_seconds=5)
        batches = list(stream)
        made[longest_s] = sorted(clip.id for batch in batches for clip in batch.clips)
        drops = [(drop.id, drop.reason) for batch in batches for drop in batch.drops]
        assert drops == ([] if longest_s is None else [("c", "too_long")])
    assert made == {None: ["a", "b", "c"], 5.0: ["a", "b"]}

    words = [str(folder / "model"), "--dataset_name", str(tmp_path / "speech"), "--min_confidence", "0"]
    runpy.run_path(str(RECIPE))["main"]([*words, "--output_file", str(tmp_path / "labels.csv")])
    assert f"the same --dataset_name, with --transcripts {tmp_path / 'labels.csv'}" in capsys.readouterr().out
    assert list(read(tmp_path / "labels.csv")[0]) == ["id", "text", "confidence"]
