"""What needs a GPU: bf16 training, cuDNN's packed path against the padded one, DDP over all GPUs, throughput."""

import json
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from deepspeech2 import DeepSpeech2Config, DeepSpeech2ForCTC
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
def test_the_packed_path_equals_the_padded_one(rnn_type: str) -> None:
    torch.manual_seed(0)
    config = DeepSpeech2Config(rnn_type=rnn_type, hidden_size=32, num_hidden_layers=1, conv_channels=[4, 4])
    layer = DeepSpeech2RecurrentLayer(config, 48).cuda()
    lengths = torch.tensor([50, 33, 7], device="cuda")
    inputs = torch.randn(3, 50, 48, device="cuda", requires_grad=True)
    mask = (torch.arange(50, device="cuda") < lengths[:, None])[:, :, None]
    outcomes = []
    for path in (layer._packed, layer._padded):
        output = path(inputs, lengths) * mask
        gradients = torch.autograd.grad(output.square().sum(), [inputs, *layer.parameters()])
        outcomes.append((output, *gradients))
    for packed, padded in zip(*outcomes, strict=True):
        torch.testing.assert_close(packed, padded, rtol=1e-3, atol=1e-4)  # TF32 is off by default for matmuls


def test_throughput_table(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Audio seconds per second of a training step in bf16, by model and path; printed, not judged."""
    rows = []
    # What runs on a GPU is called _packed; the padded path takes its place in turn.
    paths = {"packed": DeepSpeech2RecurrentLayer._packed, "padded": DeepSpeech2RecurrentLayer._padded}
    for (layers, hidden_size), path in product(((3, 512), (5, 1024)), paths):
        monkeypatch.setattr(DeepSpeech2RecurrentLayer, "_packed", paths[path])
        model = DeepSpeech2ForCTC(DeepSpeech2Config(num_hidden_layers=layers, hidden_size=hidden_size)).cuda()
        features = torch.randn(16, 1500, 161, device="cuda")
        lengths = torch.linspace(1000, 1500, 16, device="cuda").long()
        mask = (torch.arange(1500, device="cuda") < lengths[:, None]).long()
        labels = torch.randint(1, 29, (16, 150), device="cuda")
        times_s = []
        for _ in range(8):
            torch.cuda.synchronize()
            start = time.perf_counter()
            with torch.autocast("cuda", torch.bfloat16):
                loss = model(features, mask, labels).loss
            loss.backward()
            torch.cuda.synchronize()
            times_s.append(time.perf_counter() - start)
        assert torch.isfinite(loss)
        rate = float(lengths.sum()) / 100 / float(np.median(times_s[2:]))
        rows.append(f"{layers}x{hidden_size:<5} {path} {rate:10,.0f} audio-s/s")
    with capsys.disabled():
        print(f"\n{torch.cuda.get_device_name()}, bf16, batch 16 of 10 to 15 s\n" + "\n".join(rows))


def test_all_that_can_be_learnt_from_in_bf16(tones: Path, tmp_path: Path) -> None:
    asked = ("--mwer_weight", "0.5", "--domain_adversarial_weight", "0.3")
    asked += ("--entropy_weight", "0.1", "--unlabelled_dataset_name", str(tones))
    results = finetune(tones, tmp_path / "all", *asked, launch=("--num_processes", "1"))
    assert results["results"]["after training"]["train"]["cer"] < 1
    log = json.loads((tmp_path / "all" / "trainer_state.json").read_text())["log_history"]
    parts = [line for line in log if "domain_loss" in line]
    assert len(parts) == 6 and all(line["domain_loss"] > 0 for line in parts)
