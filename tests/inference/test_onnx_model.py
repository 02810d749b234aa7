"""An ONNX folder is transcribed as the model that it was made from, and starts without torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import tiny
from deepspeech2.cli.main import main
from deepspeech2.decoding.decoder import load_decoder
from deepspeech2.inference.long_form import Listener
from deepspeech2.inference.onnx_model import OnnxListener, find_graph
from deepspeech2.inference.transcription import transcribe_words
from deepspeech2.inference.voice_commands.recognition import copy_own_commands
from deepspeech2.inference.voice_commands.utterances import recognise
from deepspeech2.model.feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor
from deepspeech2.model.loading import load_model
from deepspeech2.model.onnx_export import export_onnx
from deepspeech2.model.processing_deepspeech2 import DeepSpeech2Processor
from tone_model import random_text, write_tones


@pytest.fixture(scope="module")
def trained(repository: Path):
    """The starter."""
    model, processor = load_model(str(repository / "recipes" / "quickstart" / "starter"))
    return model.eval(), processor


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "starter"
    export_onnx(*trained, folder)
    return folder


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """50 words in 24 s, two windows."""
    return write_tones(tmp_path / "tones.wav", random_text(50))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"window_periodic": False, "audio_scale": 32768 / 32767},
        {"audio_scale": 2.0**31, "pad_mode": "constant"},
        {"normalization": "fixed", "feature_mean": [0.1] * 161, "feature_std": [0.2] * 161},
        {"features": "mel", "feature_size": 80, "n_fft": 512, "win_length": 400, "normalization": "bin"},
    ],
)
@pytest.mark.parametrize("samples", [21_000, 1], ids=["1.3 s", "one sample"])
def test_the_features_are_those_of_the_extractor(options: dict, samples: int, tmp_path: Path) -> None:
    extractor = DeepSpeech2FeatureExtractor(**options)
    processor = DeepSpeech2Processor(extractor, DeepSpeech2Processor.build_tokenizer(" abc"))
    export_onnx(tiny.new_model(num_features=extractor.feature_size, hop_length=160)[0], processor, tmp_path / "out")
    clip = (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)
    found = OnnxListener(tmp_path / "out" / "model.onnx").features(clip)
    expected = extractor(clip, sampling_rate=16_000, return_tensors="np")["input_features"][0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_recording_gives_the_words_of_pytorch(trained, exported: Path, tones: Path) -> None:
    """All words with their times and confidences in fp32; in int8 nearly the same log-probabilities."""
    samples = soundfile.read(tones, dtype="float32")[0].repeat(2)
    torch_listener, listener = Listener(*trained), OnnxListener(exported / "model.onnx")
    expected, found = torch_listener.whole([samples]), listener.whole([samples])
    assert found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=5e-3)
    words = transcribe_words(listener, load_decoder(listener.model, listener.processor, "greedy"), [samples])
    like = transcribe_words(torch_listener, load_decoder(*trained, "greedy"), [samples])
    assert [word.text for word in words] == [word.text for word in like] and len(words) > 3
    np.testing.assert_allclose([word[1:4] for word in words], [word[1:4] for word in like], atol=1e-3)
    rounded = OnnxListener(exported / "model_int8.onnx").whole([samples])
    assert (rounded.argmax(-1) == expected.argmax(-1)).mean() > 0.9


def test_the_command_takes_the_folder_and_imports_no_torch(exported: Path, tones: Path, tmp_path: Path) -> None:
    words = ["transcribe", str(exported), str(tones), "--output_dir", str(tmp_path / "a"), "--cpu_threads", "1"]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "deepspeech2", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    needless = {"torch", "transformers", "accelerate", "scipy", "huggingface_hub", "fsspec"}
    assert "onnxruntime" in imported and not needless & imported
    facts = json.loads((tmp_path / "a" / "tones.json").read_text())
    assert facts["model"] == str(exported / "model_int8.onnx")


def test_a_command_is_recognised_without_torch_by_the_grammar_of_the_folder(
    exported: Path, tones: Path, repository: Path, tmp_path: Path
) -> None:
    shutil.copytree(exported, tmp_path / "onnx")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "grammar.yaml").write_text(
        "commands: {light: 'turn {switch} the light', timer: set a timer}\nslots: {switch: ['on', 'off']}\n"
    )
    copy_own_commands(SimpleNamespace(name_or_path=str(tmp_path / "model")), tmp_path / "onnx")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "deepspeech2", "recognise", str(tmp_path / "onnx"), str(tones)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "onnxruntime" in imported and not {"torch", "transformers", "accelerate", "scipy"} & imported
    starter = str(repository / "recipes" / "quickstart" / "starter")
    command = recognise(*load_model(starter), tmp_path / "onnx" / "grammar.yaml", tones)
    assert command.best and f"most likely {command.text!r}" in done.stdout


def test_a_script_is_aligned(exported: Path, tones: Path, tmp_path: Path) -> None:
    """It is normalised by the processor of the folder."""
    (tmp_path / "script.txt").write_text("Ab, CAB!")
    words = [str(exported / "model.onnx"), str(tones), "--formats", "json", "--align", str(tmp_path / "script.txt")]
    assert main(["transcribe", *words]) == 0
    written = json.loads((tmp_path / "tones.json").read_text())
    assert [word["text"] for word in written["words"]] == ["Ab,", "CAB!"]


def test_what_is_no_export_is_named(exported: Path, tmp_path: Path, repository: Path) -> None:
    assert find_graph(str(exported)) == exported / "model_int8.onnx"
    assert find_graph(str(exported / "model.onnx")) == exported / "model.onnx"
    assert find_graph(str(repository / "recipes" / "quickstart" / "starter")) is None
    assert find_graph("user/model") is None
    with pytest.raises(ValueError, match=r"nowhere\.onnx' does not exist; expected a graph in the folder of"):
        find_graph(str(tmp_path / "nowhere.onnx"))
    (tmp_path / "model.onnx").write_text("no graph")
    with pytest.raises(ValueError, match=r"lacks config.json and .* and features.npz; expected the whole folder"):
        find_graph(str(tmp_path))
    for name in ("config.json", "processor_config.json", "vocab.json", "features.npz"):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    with pytest.raises(ValueError, match=r"model.onnx' cannot be loaded: .*; export the model again"):
        OnnxListener(tmp_path / "model.onnx")
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(ValueError, match=r"has a damaged file: .*; export the model again, or copy the whole folder"):
        OnnxListener(tmp_path / "model.onnx")


def test_a_gpu_is_refused_and_other_commands_say_what_it_is(exported: Path, tones: Path) -> None:
    with pytest.raises(ValueError, match=r"--device is 'cuda', but .*model_int8.onnx' runs on the CPU"):
        main(["transcribe", str(exported), str(tones), "--device", "cuda"])
    with pytest.raises(ValueError, match="is an export to ONNX, which only `deepspeech2 transcribe` and"):
        load_model(str(exported))
