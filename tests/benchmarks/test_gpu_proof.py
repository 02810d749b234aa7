"""benchmarks/gpu_proof.py, on a CPU with tiny sizes: what a GPU will run must not rot meanwhile."""

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
