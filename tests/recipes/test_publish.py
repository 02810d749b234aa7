"""The starter is published when it is scored: until then the folder of the earlier one is as it was."""

import json
import runpy
from contextlib import nullcontext
from pathlib import Path

import pytest

import tiny
from deepspeech2.data.corpora import load_corpus
from deepspeech2.evaluation.metrics import Utterance, score
from deepspeech2.model.loading import load_model

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_that_fails_leaves_the_earlier_starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in tiny.new_model():
        part.save_pretrained(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(json.dumps({"parameters": "9"}), encoding="utf-8")
    (tmp_path / "decoder.json").write_text("{}", encoding="utf-8")
    starter = tmp_path / "starter"
    starter.mkdir()
    for name in ("model.safetensors", "other.txt"):
        (starter / name).write_text("earlier")
    corpora = load_corpus(str(tiny.write_corpus(tmp_path / "speech", "u", 2)))
    scores = score([Utterance("u", "s", 1.0, "a", "a")])
    monkeypatch.setattr("deepspeech2.data.splits.load_split", lambda *given: corpora)
    monkeypatch.setattr("deepspeech2.decoding.decoder.DecoderWorkers", lambda *given: nullcontext())
    given = ["--run", str(tmp_path / "run"), "--decoder_file", str(tmp_path / "decoder.json")]
    given += ["--output_dir", str(starter)]

    def publish(score_model) -> None:
        monkeypatch.setattr("deepspeech2.evaluation.scoring.score_model", score_model)
        runpy.run_path(str(ROOT / "recipes" / "starter" / "publish.py"))["main"](given)

    with pytest.raises(ZeroDivisionError):
        publish(lambda *given: 1 / 0)
    assert {path.name: path.read_text() for path in starter.iterdir()} == {
        "model.safetensors": "earlier",
        "other.txt": "earlier",
    }
    publish(lambda *given: (scores, 1.0))
    assert load_model(str(starter))[0].num_parameters() > 0
    assert {"README.md", "decoder.json", "other.txt"} < {path.name for path in starter.iterdir()}
    assert not starter.with_name("starter.unverified").exists()
