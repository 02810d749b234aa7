"""benchmarks/gpu_proof.py, on a CPU with tiny sizes: what a GPU will run must not rot meanwhile."""

import argparse
import json

import gpu_proof
import pytest

import tiny

TINY = ["--device", "cpu", "--tiny"]


def run(folder, *options):
    status = gpu_proof.main([*TINY, "--output_dir", str(folder), *options])
    found = json.loads((folder / "gpu_proof.json").read_text())
    return status, {title: part["rows"] for title, part in found.items()}


def test_the_first_half(tmp_path, capsys):
    """Both paths of a CPU for two batch sizes; the padded one rounds as the packed one does, to five digits."""
    status, found = run(tmp_path, "--kernels_only")
    assert status == 0, capsys.readouterr().out
    assert [row["gradient"] for row in found["Kernels of each recurrent layer"]] == ["MkldnnRnnLayerBackward0"] * 2
    paths = found["Paths of a bidirectional LSTM layer"]
    assert [(row["batch"], row["path"]) for row in paths] == [
        (8, "packed"),
        (8, "padded"),
        (16, "packed"),
        (16, "padded"),
    ]
    (exact,) = (row for row in found["Rounding"] if row["precision"] == "fp32, no TF32")
    assert float(exact["error of the gradient"]) < 1e-4
    assert "## Rounding" in (tmp_path / "gpu_proof.md").read_text()


def test_a_part_that_fails_is_listed_and_the_others_run(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_proof.Proof, "layers", lambda self: 1 / 0)
    status, found = run(tmp_path, "--kernels_only")
    assert status == 1 and found["Kernels of each recurrent layer"] == [
        {"failed": "ZeroDivisionError: division by zero"}
    ]
    assert len(found["Rounding"]) == 3


# Stands for recipes/finetune.py. It ends itself if nobody takes its output.
TALKATIVE = """
import json, pathlib, signal, sys
signal.alarm(20)
print("line\\n" * 40_000, flush=True)
run = pathlib.Path(sys.argv[sys.argv.index("--output_dir") + 1])
(run / "checkpoint-4").mkdir(parents=True, exist_ok=True)
(run / "trainer_state.json").write_text(json.dumps({"log_history": [{"loss": 2.0}]}))
sys.exit(LAST)
"""


def talkative(folder, monkeypatch, last: str) -> gpu_proof.Proof:
    (folder / "recipes").mkdir()
    (folder / "recipes" / "finetune.py").write_text(TALKATIVE.replace("LAST", last))
    monkeypatch.setattr(gpu_proof, "ROOT", folder)
    given = {"dataset_name": "speech", "dataset_config": "-", "train_split": "train"}
    return gpu_proof.Proof(argparse.Namespace(device="cpu", tiny=True, **given))


def test_a_training_that_writes_more_than_a_pipe_holds_is_stopped_and_resumed(tmp_path, monkeypatch):
    (resumed,) = talkative(tmp_path, monkeypatch, "0").resuming()
    assert resumed == {"resumed from": "checkpoint-4", "largest difference of a logged loss": "0.0e+00"}


def test_a_failed_training_is_reported_with_the_end_of_its_output(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match=r"ended with status 1: (?s:.{2900,})the reason\n$"):
        talkative(tmp_path, monkeypatch, "'the reason'").training()


@pytest.mark.slow
def test_the_whole(tmp_path, capsys):
    """On a CPU a resumed run has the losses of an uninterrupted one."""
    speech = tiny.write_corpus(tmp_path / "speech", "u", 24)
    status, found = run(tmp_path / "proof", "--dataset_name", str(speech))
    assert status == 0, capsys.readouterr().out
    assert float(found["Training"][0]["audio s per s"].replace(",", "")) > 0
    (resumed,) = found["Stop and resume"]
    assert "checkpoint-4" in resumed["resumed from"]
    assert float(resumed["largest difference of a logged loss"]) == 0
    inference = {row["dtype"]: row["texts as on the CPU"] for row in found["Loading and pipeline"]}
    assert inference["float32"] == "16 of 16"
