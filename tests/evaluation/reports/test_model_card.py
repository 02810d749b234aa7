"""The model card is what huggingface_hub's own classes read back, without a network."""

import math

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load

from deepspeech2.evaluation.metrics import Utterance, score
from deepspeech2.evaluation.reports import EvaluatedSplit, write_model_card

SCORES = score(
    [
        Utterance("1", "anna", 2.0, "turn the light on", "turn the lamp on"),
        Utterance("2", "ben", 1.0, "stop", "stop"),
    ]
)
OFFICIAL = EvaluatedSplit("openslr/librispeech_asr", "test", config="other", revision="71cacbf")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the card opened a connection"))


def write(folder, **changes):
    arguments = {
        "model_name": "me/deepspeech2-test",
        "base_model": None,
        "language": "en",
        "license": "apache-2.0",
        "datasets": ["openslr/librispeech_asr"],
        "results": [(OFFICIAL, SCORES)],
        "training": {
            "Command": "accelerate launch recipes/finetune.py",
            "Commit": "0123abc",
            "Hours of audio": "5.4",
            "Configuration": "learning_rate: 0.001\nbatch_seconds: 60\n",
        },
        "limits": ["Read English only.", "Fails in noise."],
    }
    return write_model_card(folder, **(arguments | changes))


def test_metadata_is_complete(tmp_path):
    card = ModelCard.load(write(tmp_path, tags=["mini"]))
    data = card.data
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "automatic-speech-recognition"
    assert (data.language, data.license, data.base_model) == ("en", "apache-2.0", None)
    assert data.datasets == ["openslr/librispeech_asr"]
    assert data.metrics == ["wer", "cer"]
    assert data.model_name == "me/deepspeech2-test"
    assert "mini" in data.tags
    metadata = metadata_load(tmp_path / "README.md")
    [result] = metadata["model-index"][0]["results"]
    assert result["dataset"] == {
        "name": "openslr/librispeech_asr / other / test",
        "type": "openslr/librispeech_asr",
        "config": "other",
        "split": "test",
        "revision": "71cacbf",
    }
    # 1 of 5 words; light -> lamp: 4 edits in 17 + 4 characters
    assert [(metric["type"], metric["value"]) for metric in result["metrics"]] == [("wer", 20.0), ("cer", 19.05)]
    assert yaml.safe_load(data.to_yaml())["model-index"] == metadata["model-index"]


def test_results_read_back_equal(tmp_path):
    path = write(tmp_path, results=[(OFFICIAL, SCORES), (EvaluatedSplit("synthetic", "test"), SCORES)])
    results = ModelCard.load(path).data.eval_results
    assert [(r.dataset_type, r.metric_type, r.metric_value) for r in results] == [
        ("openslr/librispeech_asr", "wer", 20.0),
        ("openslr/librispeech_asr", "cer", 19.05),
        ("synthetic", "wer", 20.0),
        ("synthetic", "cer", 19.05),
    ]
    assert ModelCard(path.read_text(encoding="utf-8")).data.eval_results == results


def test_without_a_repository_the_example_has_a_path_to_fill_in(tmp_path):
    assert 'model="path/to/commands", trust_remote_code' in write(tmp_path, model_name="commands").read_text("utf-8")


def test_text_has_what_a_person_needs(tmp_path):
    plots = []
    for name in ("results.png", "training.png"):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_bytes(b"png")
        plots.append(tmp_path / "run" / name)
    hub = {"repo_id": "me/deepspeech2-test", "revision": "v1"}
    text = write(tmp_path / "model", plots=plots, **hub).read_text(encoding="utf-8")
    assert "word error rate of 20.0 % on openslr/librispeech_asr / other / test" in text
    assert "| this model | openslr/librispeech_asr / other / test | 20.00 | 0.00–25.00 |" in text
    assert 'model="me/deepspeech2-test", revision="v1", trust_remote_code=True' in text
    assert "- Command: `accelerate launch recipes/finetune.py`" in text
    assert "- Commit: `0123abc`" in text
    assert "```yaml\nlearning_rate: 0.001\nbatch_seconds: 60\n```" in text
    assert "- Read English only.\n- Fails in noise." in text
    assert "Trained from random weights on [openslr/librispeech_asr](https://huggingface.co/datasets/" in text
    assert text.index("plots/results.png") < text.index("## Results") < text.index("plots/training.png")
    assert (tmp_path / "model/plots/training.png").read_bytes() == b"png"
    snippets = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    assert all(len([line for line in code.splitlines() if line]) <= 5 for code in snippets)
    for code in snippets:
        compile(code, "snippet", "exec")


def test_folders_of_this_machine_stay_out_of_the_metadata(tmp_path):
    base, corpus = tmp_path / "starter", tmp_path / "home" / "recordings"
    base.mkdir()
    corpus.mkdir(parents=True)
    path = write(
        tmp_path / "model",
        base_model=str(base),
        datasets=[str(corpus), "synthetic"],
        results=[(EvaluatedSplit(str(corpus), "test"), SCORES)],
    )
    data = ModelCard.load(path).data
    assert (data.base_model, data.datasets) == (None, None)
    assert data.eval_results[0].dataset_type == "recordings"
    text = path.read_text(encoding="utf-8")
    assert "Fine-tuned from the local checkpoint `starter` on `recordings` and `synthetic`." in text
    assert str(tmp_path) not in text


def test_a_base_model_of_the_hub_is_linked(tmp_path):
    path = write(tmp_path, base_model="me/starter", language=["en", "de"])
    data = ModelCard.load(path).data
    assert (data.base_model, data.language) == ("me/starter", ["en", "de"])
    assert "Fine-tuned from [me/starter](https://huggingface.co/me/starter)" in path.read_text(encoding="utf-8")


def test_an_infinite_rate_stays_out_of_the_model_index(tmp_path):
    silence = score([Utterance("1", "", 1.0, "", "noise"), Utterance("2", "", 1.0, "", "")])
    assert silence.wer == math.inf
    path = write(tmp_path, results=[(OFFICIAL, SCORES), (EvaluatedSplit("silence", "test"), silence)])
    assert len(ModelCard.load(path).data.eval_results) == 2


@pytest.mark.parametrize(("missing", "message"), [({"results": []}, "needs results"), ({"limits": ""}, "needs limits")])
def test_an_incomplete_card_is_refused(tmp_path, missing, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, **missing)
