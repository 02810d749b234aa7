"""A saved folder works where this package is not: by its own code, through the Auto classes and the pipeline."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

import tiny
from deepspeech2 import DeepSpeech2Config, DeepSpeech2FeatureExtractor, DeepSpeech2ForCTC, DeepSpeech2Processor
from finetuning import CONFIG, RECIPE, ROOT, SIZES
from hub_server import HubServer

pytestmark = pytest.mark.slow

RATE = 16_000
FRAME_S = 0.02  # hop of 160 samples, time stride 2
CLIENT = Path(__file__).with_name("remote_code_client.py")


def melody() -> np.ndarray:
    """Six times the same second of four tones: every piece of whole seconds has the same mean and deviation."""
    times = np.arange(RATE // 4) / RATE
    tones = [np.sin(2 * np.pi * hz * times) * volume for hz, volume in ((400, 0.5), (0, 0), (2_000, 0.3), (5_200, 0.2))]
    return np.tile(np.concatenate(tones), 6).astype(np.float32)


def model_without_memory() -> DeepSpeech2ForCTC:
    """A random model whose answer at a frame depends on the sound around it alone."""
    torch.manual_seed(0)
    config = DeepSpeech2Config(vocab_size=6, hidden_size=16, num_hidden_layers=2, conv_channels=[4, 4], rnn_type="rnn")
    model = DeepSpeech2ForCTC(config).eval()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.rnn.weight_hh_l0.zero_()
            layer.rnn.weight_hh_l0_reverse.zero_()
    return model


@pytest.fixture(scope="module")
def processor() -> DeepSpeech2Processor:
    return DeepSpeech2Processor(DeepSpeech2FeatureExtractor(), DeepSpeech2Processor.build_tokenizer("abcd "))


@pytest.fixture(scope="module")
def model() -> DeepSpeech2ForCTC:
    return model_without_memory()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model: DeepSpeech2ForCTC, processor: DeepSpeech2Processor) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def run_client(folder: Path, *more: Path) -> dict:
    audio, results = folder.parent / "audio.npy", folder.parent / "results.json"
    np.save(audio, melody())
    # -I: neither PYTHONPATH nor the working directory can bring the package in.
    command = [sys.executable, "-I", str(CLIENT), str(folder), str(audio), str(results), *map(str, more)]
    client = subprocess.run(command, cwd=folder.parent, env=dict(os.environ), capture_output=True, text=True)
    assert client.returncode == 0, client.stderr
    return json.loads(results.read_text())


@pytest.fixture(scope="module")
def elsewhere(folder: Path) -> dict:
    """What the process without the package made of the folder, and of a file name."""
    if shutil.which("ffmpeg") is None:  # the program that the pipeline reads files with
        return run_client(folder)
    soundfile.write(folder.parent / "melody.wav", melody(), RATE)
    return run_client(folder, folder.parent / "melody.wav")


def test_the_code_travels_with_the_weights(folder: Path) -> None:
    for part in ("configuration", "modeling", "feature_extraction", "processing"):
        assert (folder / f"{part}_deepspeech2.py").is_file()


def test_the_auto_classes_load_the_folders_own_code(elsewhere: dict) -> None:
    expected = ["Config", "Processor", "FeatureExtractor", "Model", "ForCTC"]
    assert elsewhere["classes"] == [f"DeepSpeech2{name}" for name in expected]
    assert set(elsewhere["modules"]) == {"transformers_modules"}


def test_features_and_logits_are_identical(
    elsewhere: dict, model: DeepSpeech2ForCTC, processor: DeepSpeech2Processor
) -> None:
    inputs = processor(melody(), sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits
        hidden_states = model.model(**inputs).last_hidden_state
    for name, ours in (("features", inputs.input_features), ("logits", logits), ("hidden_states", hidden_states)):
        torch.testing.assert_close(torch.tensor(elsewhere[name]), ours, rtol=0, atol=0)
    assert elsewhere["greedy"] == processor.batch_decode(logits.argmax(-1))[0]
    assert elsewhere["normalized"] == "hello world"


def test_the_pipeline_transcribes(elsewhere: dict) -> None:
    text = elsewhere["plain"]["text"]
    assert text == elsewhere["greedy"]
    assert len(text) >= 12 and len(set(text)) >= 3, f"the random model says too little for a test: {text!r}"
    assert elsewhere["batch"][0]["text"] == text
    assert text.startswith(elsewhere["batch"][1]["text"][:2])


@pytest.mark.parametrize("kind", ["char", "word"])
def test_timestamps(elsewhere: dict, kind: str) -> None:
    output, text = elsewhere[kind], elsewhere["plain"]["text"]
    pieces = [chunk["text"] for chunk in output["chunks"]]
    assert output["text"] == text
    assert pieces == (list(text) if kind == "char" else text.split())
    times = [time for chunk in output["chunks"] for time in chunk["timestamp"]]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= 6 + FRAME_S
    assert all(start < end for start, end in (chunk["timestamp"] for chunk in output["chunks"]))
    np.testing.assert_allclose(np.array(times) / FRAME_S, np.round(np.array(times) / FRAME_S), atol=1e-6)


def test_chunking_changes_nothing_away_from_the_ends(elsewhere: dict) -> None:
    assert elsewhere["chunked_char"]["text"] == elsewhere["chunked"]["text"]

    def inside(output: dict) -> tuple[list[str], list[float]]:
        chunks = [chunk for chunk in output["chunks"] if 0.3 < chunk["timestamp"][0] < 5.7]
        return [chunk["text"] for chunk in chunks], [time for chunk in chunks for time in chunk["timestamp"]]

    (whole, whole_times), (chunked, chunked_times) = inside(elsewhere["char"]), inside(elsewhere["chunked_char"])
    assert chunked == whole
    np.testing.assert_allclose(chunked_times, whole_times, atol=FRAME_S + 1e-6)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the pipeline reads file names by the ffmpeg program")
def test_file_names(elsewhere: dict) -> None:
    assert elsewhere["file"] == elsewhere["plain"]


def test_pushed_and_loaded_again_by_its_name(tmp_path: Path) -> None:
    """
    The command of the README, on a dataset and a Hub on the loopback: trained, pushed into a private repository,
    loaded by its id in a process that has only transformers.
    """
    tiny.write_parquet(tiny.write_corpus(tmp_path, "train", 12), tmp_path / "parquet")
    speech = (tmp_path / "parquet" / "0000.parquet").read_bytes()
    settings = CONFIG | {"dataset_name": "me/speech", "eval_split": "validation", "test_split": []} | SIZES
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    with HubServer(tokens={"hf_secret": "write"}) as hub:
        hub.add_dataset(
            "me/speech", {f"data/{split}.parquet": speech for split in ("train", "validation")}, private=True
        )
        environment = os.environ | {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0",
            "HF_DATASETS_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",  # plain LFS, which the loopback Hub speaks
            "HF_HOME": str(tmp_path / "home"),
            "HF_TOKEN": "hf_secret",
            "PYTHONPATH": str(ROOT / "src"),
        }
        launch = [Path(sys.executable).with_name("accelerate"), "launch", "--cpu", "--num_processes", "1", RECIPE]
        options = ["--push_to_hub", "--hub_model_id", "me/tones", "--hub_private_repo", "true"]
        command = [*launch, tmp_path / "config.yaml", "--output_dir", tmp_path / "out", *options]
        trained = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert trained.returncode == 0, trained.stderr
        assert "hf_secret" not in trained.stdout + trained.stderr
        np.save(tmp_path / "audio.npy", melody())
        client = [sys.executable, "-I", str(CLIENT), "me/tones", tmp_path / "audio.npy", tmp_path / "heard.json"]
        environment["HF_HOME"] = str(tmp_path / "another home")
        loaded = subprocess.run(client, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert loaded.returncode == 0, loaded.stderr
    assert hub.model("me/tones").private and len(hub.model("me/tones").history) == 2
    assert json.loads((tmp_path / "heard.json").read_text())["modules"] == ["transformers_modules"] * 5
