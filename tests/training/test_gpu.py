"""What needs a GPU: bf16 training, the paths of the LSTM against each other and their kernels, DDP over all GPUs."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from gpu_proof import kernel

from deepspeech2 import DeepSpeech2Config, DeepSpeech2ForCTC
from deepspeech2.model import modeling_deepspeech2
from deepspeech2.model.modeling_deepspeech2 import DeepSpeech2RecurrentLayer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")]

ROOT = Path(__file__).parents[2]
PITCHES_HZ = {"a": 220, "b": 440, "c": 880, "d": 1760}
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "conv_channels": [8, 8]}


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """A manifest of 64 clips that spell words in tones: what a model learns in a minute."""
    rng = np.random.default_rng(0)
    lines = ["audio,text,speaker_id"]
    for index in range(64):
        letters = rng.choice(list(PITCHES_HZ), 4)
        seconds = np.arange(3200) / 16_000
        samples = np.concatenate([np.sin(2 * np.pi * PITCHES_HZ[letter] * seconds) for letter in letters])
        soundfile.write(tmp_path / f"{index}.wav", 0.3 * samples + rng.normal(0, 0.01, samples.size), 16_000)
        lines.append(f"{index}.wav,{''.join(letters)},{index % 4}")
    manifest = tmp_path / "tones.csv"
    manifest.write_text("\n".join(lines))
    return manifest


def finetune(manifest: Path, output_dir: Path, *arguments: str, launch: tuple[str, ...] = ()) -> dict:
    config = output_dir.with_suffix(".yaml")
    config.write_text(json.dumps({"model_config": SMALL, "characters": " abcd"}))
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", *launch, "recipes/finetune.py", str(config)),
        *("--dataset_name", str(manifest), "--eval_split", "train", "--output_dir", str(output_dir)),
        *("--batch_seconds", "20", "--max_steps", "60", "--learning_rate", "3e-3", "--bf16", "true"),
        *("--check_utterances", "0"),  # what is trained on is scored, on purpose
        *("--eval_strategy", "steps", "--eval_steps", "60", "--save_strategy", "steps", "--save_steps", "60"),
        *arguments,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((output_dir / "results.json").read_text())


def test_bf16_fine_tuning_learns(tones: Path, tmp_path: Path) -> None:
    results = finetune(tones, tmp_path / "one", launch=("--num_processes", "1"))
    assert results["results"]["after training"]["train"]["cer"] < 0.5


def test_ddp_over_all_gpus(tones: Path, tmp_path: Path) -> None:
    count = torch.cuda.device_count()
    if count < 2:
        pytest.skip("one GPU: nothing to distribute over")
    launch = ("--config_file", "accelerate_configs/multi_gpu.yaml", "--num_processes", str(count))
    results = finetune(tones, tmp_path / "all", "--num_processes", str(count), launch=launch)
    assert results["run"]["hardware"].startswith(f"{count} process")


@pytest.mark.parametrize("rnn_type", ["lstm", "gru", "rnn"])
def test_all_paths_give_the_same(rnn_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # cuDNN's default, unlike that of matrix products
    torch.manual_seed(0)
    config = DeepSpeech2Config(rnn_type=rnn_type, hidden_size=32, num_hidden_layers=1, conv_channels=[4, 4])
    layer = DeepSpeech2RecurrentLayer(config, 48).cuda()
    lengths = torch.tensor([50, 33, 7], device="cuda")
    inputs = torch.randn(3, 50, 48, device="cuda", requires_grad=True)
    outcomes = []
    for path in ("packed", "padded", "streams"):
        monkeypatch.setattr(modeling_deepspeech2, "choose_path", lambda *sizes, path=path: path)
        output = layer(inputs, lengths, lengths.cpu())
        assert "Cudnn" in kernel(output)["gradient"]
        outcomes.append((output, *torch.autograd.grad(output.square().sum(), [inputs, *layer.parameters()])))
    for packed, *others in zip(*outcomes, strict=True):
        for other in others:
            torch.testing.assert_close(packed, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16])
def test_every_recurrent_layer_runs_in_fp16_by_cudnn(autocast: torch.dtype) -> None:
    model = DeepSpeech2ForCTC(DeepSpeech2Config(**SMALL)).cuda()
    seen = []
    for layer in model.model.layers:
        layer.register_forward_hook(
            lambda layer, given, output: seen.append((output.dtype, kernel(output)["gradient"]))
        )
    with torch.autocast("cuda", autocast):
        loss = model(torch.randn(8, 200, 161, device="cuda"), labels=torch.ones(8, 5, device="cuda").long()).loss
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    assert len(seen) == 2 and all(dtype == torch.float16 and "Cudnn" in name for dtype, name in seen), seen


def test_all_that_can_be_learnt_from_in_bf16(tones: Path, tmp_path: Path) -> None:
    asked = ("--mwer_weight", "0.5", "--domain_adversarial_weight", "0.3")
    asked += ("--entropy_weight", "0.1", "--unlabelled_dataset_name", str(tones))
    results = finetune(tones, tmp_path / "all", *asked, launch=("--num_processes", "1"))
    assert results["results"]["after training"]["train"]["cer"] < 1
    log = json.loads((tmp_path / "all" / "trainer_state.json").read_text())["log_history"]
    parts = [line for line in log if "domain_loss" in line]
    assert len(parts) == 6 and all(line["domain_loss"] > 0 for line in parts)
