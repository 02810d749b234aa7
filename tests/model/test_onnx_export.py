"""ONNX exports: the answers of PyTorch, alone and in a padded batch; int8, the gate, and the program without torch."""

import json
import runpy
import subprocess
import sys
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch

import tiny
from deepspeech2.cli.main import main
from deepspeech2.decoding.options import DecoderOptions, read_options, save_options
from deepspeech2.evaluation.metrics import Utterance, score
from deepspeech2.evaluation.onnx_gate import refuse_worse, write_comparison
from deepspeech2.model.deepspeech_pytorch import from_deepspeech_pytorch
from deepspeech2.model.feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor
from deepspeech2.model.loading import load_model
from deepspeech2.model.modeling_deepspeech2 import DeepSpeech2ForCTC
from deepspeech2.model.onnx_export import FP32, INT8, PYTORCH, OnnxModel, export_onnx
from deepspeech2.model.onnx_graph import _block_transforms
from deepspeech2.model.processing_deepspeech2 import DeepSpeech2Processor

LENGTHS = (95, 61, 30, 7)
LONG_KERNELS = {
    "conv_channels": [8, 16],
    "conv_kernel_sizes": [[5, 5], [3, 8]],
    "conv_paddings": [[2, 2], [1, 2]],
}


def disturb(model: DeepSpeech2ForCTC) -> DeepSpeech2ForCTC:
    """Statistics and biases as training leaves them: none is 0 or 1."""
    for name, tensor in [*model.named_buffers(), *model.named_parameters()]:
        if "running_mean" in name or "bias" in name or "adapters" in name:
            torch.nn.init.normal_(tensor, std=0.5)
        elif "running_var" in name or ("norm" in name and "weight" in name):
            torch.nn.init.uniform_(tensor, 0.5, 2.0)
    return model.eval()


def padded_batch(num_features: int) -> dict[str, torch.Tensor]:
    """Clips of LENGTHS; what stands in the padding must not matter."""
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).int()
    return {"input_features": torch.randn(len(LENGTHS), max(LENGTHS), num_features), "attention_mask": mask}


@pytest.fixture(scope="module")
def trained(repository):
    """The starter: weights that were trained, mel features."""
    return load_model(str(repository / "recipes" / "quickstart" / "starter"))


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "starter"
    assert export_onnx(*trained, folder) == [FP32, INT8]
    return folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Two seconds that the starter hears letters in: tones that change."""
    path = tmp_path_factory.mktemp("speech") / "tones.wav"
    letters = np.random.default_rng(5).choice(list("abc "), 17)
    soundfile.write(path, np.repeat(tiny.tones("".join(letters), np.random.default_rng(0)), 2), 16_000)
    return path


@pytest.mark.parametrize(
    "sizes",
    [
        *({"rnn_type": kind, "bidirectional": both} for kind in ("lstm", "gru", "rnn") for both in (True, False)),
        {"rnn_type": "lstm", "adapter_size": 3},
        {"rnn_type": "gru", "bidirectional": False, "adapter_size": 3},
        LONG_KERNELS,
        LONG_KERNELS | {"rnn_bias": False, "conv_strides": [[2, 1], [2, 1]]},
    ],
    ids=lambda sizes: "-".join(map(str, sizes.values())) if "rnn_type" in sizes else f"{len(sizes)}-long-kernels",
)
def test_a_padded_batch_and_clips_alone_are_as_in_pytorch(sizes, tmp_path):
    model, processor = tiny.new_model(**sizes)
    disturb(model)
    ways = export_onnx(model, processor, tmp_path / "out")
    assert ways == ([FP32, INT8] if model.config.rnn_type == "lstm" else [FP32])
    onnx.checker.check_model(tmp_path / "out" / "model.onnx", full_check=True)
    graph = OnnxModel(tmp_path / "out" / "model.onnx")
    batch = padded_batch(model.config.num_features)
    with torch.inference_mode():
        expected = model(**batch)
    found = graph(**batch)
    assert expected.logits.abs().max() > 1
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-4)
    assert found.output_lengths.tolist() == expected.output_lengths.tolist()
    for row, length in enumerate(LENGTHS):
        alone = graph(batch["input_features"][row : row + 1, :length], torch.ones(1, length)).logits[0]
        torch.testing.assert_close(found.logits[row, : len(alone)], alone, rtol=0, atol=1e-4)
        assert not found.logits[row, found.output_lengths[row] :].any()


@pytest.mark.parametrize("name", ["v3_bi_lstm.ckpt", "v3_uni_lstm.ckpt", "v20_bi_lstm.pth", "v12_bi_gru.pth"])
def test_converted_checkpoints(name, reference_root, tmp_path):
    """The convolutions of deepspeech.pytorch: 32 channels, kernels of 11 frames."""
    model, processor = from_deepspeech_pytorch(reference_root / name)
    export_onnx(model, processor, tmp_path / "out")
    batch = padded_batch(model.config.num_features)
    if "v12" in name:  # its convolutions need 22 frames
        batch = {key: value[:3] for key, value in batch.items()}
    with torch.inference_mode():
        expected = model(**batch).logits
    found = OnnxModel(tmp_path / "out" / "model.onnx")(**batch).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("block", "kernel"), [(30, 11), (2, 3), (6, 5)])
def test_the_transforms_are_a_correlation(block, kernel):
    to_products, of_kernel, back = _block_transforms(block, kernel)
    signal, taps = np.random.default_rng(0).standard_normal((2, block + kernel - 1))
    taps = taps[:kernel]
    found = back @ ((of_kernel @ taps) * (to_products @ signal))
    np.testing.assert_allclose(found, np.correlate(signal, taps, "valid"), atol=1e-12)
    # of block x kernel multiplications stay 3 for each pair of inputs, and 2 for one of the pairs: 59 of 330
    assert len(of_kernel) == 3 * (block + kernel - 1) // 2 - 1


def test_int8_is_close_and_a_fourth_as_large(trained, exported, recording):
    model, processor = trained
    samples, rate = soundfile.read(recording)
    inputs = processor(samples, sampling_rate=rate, return_tensors="pt")
    with torch.inference_mode():
        expected = model(**inputs).logits
    graph = OnnxModel(exported / "model_int8.onnx")
    found = graph(**inputs).logits
    padded = {
        name: torch.nn.functional.pad(value, (0,) * (2 * value.dim() - 3) + (40,)) for name, value in inputs.items()
    }
    assert torch.equal(graph(**padded).logits[:, : found.shape[1]], found)
    assert 0 < (found - expected).square().mean().sqrt() < 0.05 * expected.std()
    assert (found.argmax(-1) == expected.argmax(-1)).float().mean() > 0.95 and expected.argmax(-1).any()
    sizes = [(exported / name).stat().st_size for name in ("model.onnx", "model_int8.onnx")]
    assert sizes[1] < 0.27 * sizes[0]


CLIENT = "import runpy, sys; runpy.run_path(sys.argv[1])['main'](sys.argv[2:]); print(*sys.modules)"


@pytest.mark.parametrize("weights", ["model.onnx", "model_int8.onnx"])
def test_the_example_needs_neither_torch_nor_transformers(weights, trained, exported, recording, repository):
    script = repository / "recipes" / "onnx_example.py"
    words = [sys.executable, "-I", "-c", CLIENT, str(script), str(exported / weights), str(recording), str(recording)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    first, second, modules = done.stdout.splitlines()
    assert {"numpy", "onnxruntime", "soundfile"} <= set(modules.split())
    assert not {"torch", "transformers", "deepspeech2", "librosa", "scipy"} & set(modules.split())
    model, processor = trained
    samples, rate = soundfile.read(recording)
    with torch.inference_mode():
        heard = model if weights == "model.onnx" else OnnxModel(exported / weights)
        logits = heard(**processor(samples, sampling_rate=rate, return_tensors="pt")).logits
    (expected,) = processor.batch_decode(logits.argmax(-1))
    assert first == second != ""
    if weights == "model.onnx":
        assert first == expected
    else:  # features that differ by rounding may be quantised differently
        assert SequenceMatcher(None, first, expected).ratio() > 0.9


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"window_periodic": False, "audio_scale": 32768 / 32767},
        {"audio_scale": 2.0**31, "window_periodic": False},
        {"pad_mode": "constant"},
        {"features": "mel", "feature_size": 80, "n_fft": 512, "win_length": 400, "normalization": "bin"},
    ],
)
@pytest.mark.parametrize("seconds", [1.3, 0.009])
def test_the_example_makes_the_features_of_the_extractor(options, seconds, repository, tmp_path, monkeypatch):
    """What it would give to a session; a clip of 9 ms has one frame."""
    extractor = DeepSpeech2FeatureExtractor(**options)
    processor = DeepSpeech2Processor(extractor, DeepSpeech2Processor.build_tokenizer(" abc"))
    model = tiny.new_model(num_features=extractor.feature_size, hop_length=160)[0]
    export_onnx(model, processor, tmp_path / "out")
    samples = np.random.default_rng(0).standard_normal((int(16_000 * seconds), 2)) * 0.1
    soundfile.write(tmp_path / "noise.wav", samples, 16_000)
    given = []

    class Session:
        def __init__(self, path):
            assert path.is_file()

        def run(self, names, inputs):
            given.append(inputs)
            return [np.zeros((1, 3, 5))]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    main = runpy.run_path(str(repository / "recipes" / "onnx_example.py"))["main"]
    main([str(tmp_path / "out" / "model.onnx"), str(tmp_path / "noise.wav")])
    heard = soundfile.read(tmp_path / "noise.wav", dtype="float32")[0]
    expected = extractor(heard, sampling_rate=16_000, return_tensors="np")
    assert given[0]["input_features"].dtype == np.float32
    np.testing.assert_allclose(given[0]["input_features"], expected["input_features"], atol=1e-4)
    np.testing.assert_array_equal(given[0]["attention_mask"], expected["attention_mask"])
    soundfile.write(tmp_path / "slow.wav", samples, 8000)
    with pytest.raises(SystemExit, match=r"slow\.wav has 8000 Hz; expected 16000"):
        main([str(tmp_path / "out" / "model.onnx"), str(tmp_path / "slow.wav")])


# The gate ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model folder of random weights, and a manifest of eight recordings."""
    folder = tmp_path_factory.mktemp("gate")
    for made in tiny.new_model():
        made.save_pretrained(folder / "model")
    return folder / "model", tiny.write_corpus(folder, "u", 8)


def test_an_export_that_hears_the_same_is_kept(checkpoint, tmp_path, capsys):
    model, manifest = checkpoint
    out = tmp_path / "out"
    (tmp_path / "lm.arpa").write_text("words")
    save_options(DecoderOptions(beam_size=5, language_model=str(tmp_path / "lm.arpa")), model)
    words = ["export", str(model), "--output_dir", str(out), "--dataset_name", str(manifest)]
    main([*words, "--max_wer_difference", "100", "--cpu_threads", "1"])
    names = {path.name for path in out.iterdir()}
    assert {"model.onnx", "model_int8.onnx", "features.npz", "vocab.json", "processor_config.json"} <= names
    assert read_options(out / "decoder.json").language_model == str(out / "lm.arpa")
    results = json.loads((out / "export.json").read_text())
    assert list(results["ways"]) == [PYTORCH, FP32, INT8] and results["max_wer_difference"] == 100
    assert results["command"].startswith("deepspeech2 export ") and results["cpu_threads"] == 1
    assert results["ways"][FP32]["same_texts"] == 8 and results["ways"][FP32]["wer_difference"] == 0
    assert all(way["rtfx"] > 0 for way in results["ways"].values())
    assert (out / "export.md").read_text() in capsys.readouterr().out
    assert not (tmp_path / "out.unverified").exists()
    with pytest.raises(ValueError, match="already exists; name a new folder, or remove it"):
        main(words)


def test_a_broken_graph_is_refused(checkpoint, tmp_path, monkeypatch):
    """Words that nobody said are insertions: the WER rises. Nothing is left under the name that was asked for."""
    model, manifest = checkpoint
    broken = np.tile(np.array([2, 1], np.int64), 20)  # "a a a a ..."

    def transcribe_words(self, input_features, attention_mask, **kwargs):
        return type("Outputs", (), {"logits": torch.eye(5)[broken].expand(len(input_features), -1, -1), "loss": None})

    monkeypatch.setattr(OnnxModel, "forward", transcribe_words)
    words = ["export", str(model), "--output_dir", str(tmp_path / "out")]
    words += ["--dataset_name", str(manifest), "--num_utterances", "3"]
    with pytest.raises(
        ValueError, match=r"refused: the WER of ONNX fp32 \d+\.\d\d % and ONNX int8 .* 0\.3 points above"
    ):
        main(words)
    assert not (tmp_path / "out").exists()
    results = json.loads((tmp_path / "out.unverified" / "export.json").read_text())
    assert results["ways"][INT8]["wer_difference"] > 1
    assert "| ONNX int8 |" in (tmp_path / "out.unverified" / "export.md").read_text()
    monkeypatch.undo()
    main([*words, "--max_wer_difference", "100"])  # over what the refusal left
    assert (tmp_path / "out").exists() and not (tmp_path / "out.unverified").exists()


def scores(*errors: int):
    """One utterance of 1,000 words a count of errors."""
    words = ["word"] * 1000
    texts = [" ".join(["other"] * count + words[count:]) for count in errors]
    return score([Utterance(f"{i}", "", 1.0, " ".join(words), text) for i, text in enumerate(texts)]), 10.0


def test_the_tolerance_is_in_points_and_one_sided():
    """100 of 1,000 words, then 103 and 104: 0.3 and 0.4 points more; fewer errors are no fault."""
    refuse_worse({PYTORCH: scores(100), FP32: scores(90), INT8: scores(103)}, 0.30001, Path("x"))
    with pytest.raises(ValueError, match=r"the WER of ONNX int8 10\.40 % is more than 0\.3 points above the 10\.00 %"):
        refuse_worse({PYTORCH: scores(100), FP32: scores(100), INT8: scores(104)}, 0.3, Path("x"))
    with pytest.raises(ValueError, match=r"the WER of ONNX fp32 10\.00 % and ONNX int8 10\.00 %"):
        refuse_worse({PYTORCH: scores(100), FP32: scores(100), INT8: scores(100)}, -0.1, Path("x"))


def test_the_table(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"0" * 2_500_000)
    table = write_comparison(tmp_path, {PYTORCH: scores(100, 0), FP32: (scores(100, 10)[0], 25.0)}, {"cpu_threads": 1})
    assert table.splitlines()[2:] == [
        "| PyTorch | 5.00 | +0.00 | 2 of 2 | 10.0 | 1.00 |  |",
        "| ONNX fp32 | 5.50 | +0.50 | 1 of 2 | 25.0 | 2.50 | 2.5 |",
    ]
    ways = json.loads((tmp_path / "export.json").read_text())["ways"]
    assert ways[FP32]["wer_difference"] == pytest.approx(10 / 2000)


def test_errors_say_what_to_do(checkpoint, tmp_path, monkeypatch, trained):
    with pytest.raises(ValueError, match="'nowhere' is not a model"):
        main(["export", "nowhere", "--output_dir", str(tmp_path / "out"), "--dataset_name", str(checkpoint[1])])
    with pytest.raises(ValueError, match="already exists; name a new folder, or remove it"):
        export_onnx(*trained, tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match="needs two packages: pip install onnx onnxruntime"):
        export_onnx(*trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()
