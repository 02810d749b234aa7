"""What comes from elsewhere is data: no pickle, no code and no YAML tag of a model, a checkpoint or a recipe runs."""

import json
import pickle
import runpy
import shutil
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

import tiny
from deepspeech2.data.audio.recordings import AudioError, fetch_audio
from deepspeech2.data.corpora import load_corpus
from deepspeech2.evaluation.metrics import Utterance, score
from deepspeech2.evaluation.reports import write_run_report, write_score_report
from deepspeech2.model.loading import load_model
from finetuning import ROOT, exit_message, finetune, write_inputs
from hub_repositories import Repository
from hub_server import HubServer


class Planted:
    """An object whose pickle, when it is loaded, writes a file."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return Path.write_text, (self.trace, "was here")


@pytest.fixture
def trace(tmp_path) -> Path:
    """The file that must not be there after the test; written by a pickle that works."""
    trace = tmp_path / "trace"
    pickle.loads(pickle.dumps(Planted(trace)))
    trace.unlink()
    yield trace
    assert not trace.exists()


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "model"
    for part in tiny.new_model():
        part.save_pretrained(folder)
    return folder


def as_pickle(model: Path, trace: Path) -> None:
    """The weights as transformers wrote them before safetensors, with a surprise."""
    (model / "model.safetensors").unlink()
    torch.save({"lm_head.weight": Planted(trace)}, model / "pytorch_model.bin")


def on_the_hub(folder: Path, hub: HubServer) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.repositories["models/me/planted"] = Repository(history=[files])


def test_weights_that_are_a_pickle_are_refused(tmp_path, endpoint, monkeypatch, model, trace):
    """By both recipes that load a model, from a folder and from the Hub, by their name where it is known."""
    as_pickle(model, trace)
    write_inputs(tmp_path)
    refusal = "Pickled weights are not loaded, because a pickle can run any code"
    message = exit_message(
        monkeypatch,
        str(tmp_path / "tune.yaml"),
        "--model_name_or_path",
        str(model),
        "--output_dir",
        str(tmp_path / "out"),
    )
    assert "no model.safetensors, only pytorch_model.bin" in message and refusal in message
    score = str(ROOT / "recipes" / "score.py")
    monkeypatch.setattr(sys, "argv", [score, str(model), "--dataset_name", str(tmp_path / "train" / "train.csv")])
    with pytest.raises(SystemExit, match=refusal):
        runpy.run_path(score, run_name="__main__")
    with HubServer() as hub:
        on_the_hub(model, hub)
        endpoint(hub.url)
        with pytest.raises(ValueError, match=refusal):
            load_model("me/planted")
    assert not [line for line in hub.requests if ".bin" in line]


@pytest.mark.parametrize("place", ["folder", "hub"])
@pytest.mark.parametrize("kind", ["deepspeech2", "somebodys_own"])
def test_code_beside_a_model_does_not_run(endpoint, model, trace, place, kind):
    """Of a model of this package the package's own code runs; another is refused by its name."""
    for path in model.glob("*.py"):
        path.write_text(f"open({str(trace)!r}, 'w').write('was here')\n{path.read_text()}")
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        content = json.loads((model / name).read_text())
        assert "auto_map" in content or name == "tokenizer_config.json"
        (model / name).write_text(json.dumps(content | ({"model_type": kind} if name == "config.json" else {})))
    with HubServer() as hub:
        on_the_hub(model, hub)
        endpoint(hub.url)
        name = str(model) if place == "folder" else "me/planted"
        if kind == "deepspeech2":
            loaded, processor = load_model(name)
            assert {type(one).__module__.split(".")[0] for one in (loaded, processor)} == {"deepspeech2"}
        else:
            with pytest.raises(ValueError, match="has model_type 'somebodys_own'; expected 'deepspeech2'"):
                load_model(name)


@pytest.mark.slow
def test_the_state_of_a_checkpoint_does_not_run(tmp_path, trace):
    """Whichever of its files is a pickle with a surprise."""
    write_inputs(tmp_path)
    output_dir = tmp_path / "out"
    argv = [str(tmp_path / "config.yaml"), "--output_dir", str(output_dir)]
    finetune(*argv)
    (output_dir / "model.safetensors").unlink()  # as if it had stopped after its last checkpoint but one
    shutil.rmtree(output_dir / "checkpoint-4")
    checkpoint = output_dir / "checkpoint-2"
    states = sorted(path for path in checkpoint.iterdir() if path.suffix in (".pt", ".pth"))
    assert {path.name for path in states} == {
        "data_position_0_of_1.pt",
        "optimizer.pt",
        "rng_state.pth",
        "scheduler.pt",
    }
    listed = checkpoint / "files.json"
    sizes = listed.read_text()

    def plant(path):
        torch.save(Planted(trace), path)
        listed.write_text(json.dumps(json.loads(sizes) | {path.name: path.stat().st_size}))  # else it is not whole

    for path in states:
        content = path.read_bytes()
        plant(path)
        with pytest.raises(ValueError, match="Nothing in it was executed"):
            finetune(*argv)
        path.write_bytes(content)
    plant(checkpoint / "training_args.bin")  # nobody reads it
    finetune(*argv)


@pytest.mark.parametrize("name", ["data-00000-of-00001.arrow", "state.json", "train.pkl", "cache.pickle"])
def test_a_folder_of_speech_does_not_run(tmp_path, trace, name):
    """Whether it says that save_to_disk wrote it, or holds a pickle beside nothing."""
    folder = tmp_path / "speech"
    datasets.Dataset.from_dict({"audio": ["a.wav"], "text": ["x"]}).save_to_disk(folder)
    if name.startswith(("train", "cache")):
        shutil.rmtree(folder)
        folder.mkdir()
    (folder / name).write_bytes(pickle.dumps(Planted(trace)))
    with pytest.raises(ValueError, match=r"cannot be read|is no JSON|is not a corpus"):
        list(load_corpus(str(folder))[0].stream)


def test_a_tag_in_a_recipe_does_not_run(tmp_path, monkeypatch, trace):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"credit: !!python/object/apply:os.mkdir [{trace}]\n")
    assert "is not YAML" in exit_message(monkeypatch, str(recipe))


def test_a_report_shows_markup_as_text(tmp_path):
    """Of transcripts, hypotheses, ids, speakers, names and commands alike."""
    hostile = "<script>alert(1)</script>"
    scores = score(
        [Utterance(f"{hostile}{n}", f"{hostile}{n}", 1.0, f"a {hostile}", f"b {hostile} {n}") for n in (1, 2)]
    )
    whole = {"title": hostile, "command": hostile}
    pages = [
        write_score_report(tmp_path / "score", scores, **whole),
        write_run_report(
            tmp_path / "run",
            **whole,
            log_history=[],
            results={hostile: {hostile: scores}},
            config={hostile: hostile},
            facts={hostile: hostile},
        ),
    ]
    for page in pages:
        content = page.read_text()
        assert "&lt;script&gt;" in content and "<script>alert" not in content


def test_no_file_outside_a_folder_is_read(tmp_path):
    """What a stranger's folder, Parquet file or list says is a transcript or a recording."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    clip = tmp_path / "secret.wav"
    soundfile.write(clip, tiny.tones("ab", np.random.default_rng(0)), tiny.RATE)
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
