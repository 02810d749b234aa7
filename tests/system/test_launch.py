"""What the launcher was asked for, and a run that got less."""

from pathlib import Path
from types import SimpleNamespace

import pytest

import forked
from deepspeech2.system import launch
from deepspeech2.system.launch import asked_processes, launcher
from finetuning import exit_message

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "words, asked",
    [
        (["python"], None),
        (["accelerate", "launch"], None),
        (["accelerate", "launch", "--cpu", "--num_processes", "2"], 2),
        (["accelerate-launch", "--num_processes=3"], 3),
        (["accelerate", "launch", "--config_file", str(ROOT / "accelerate_configs" / "cpu_ddp.yaml")], 2),
        (["accelerate", "launch", "--config_file", str(ROOT / "accelerate_configs" / "cpu.yaml"), "-h"], 1),
    ],
)
def test_the_number_of_processes_that_was_asked_for(words, asked):
    assert asked_processes([word for word in words if word != "-h"]) == asked


def test_a_test_run_has_no_launcher():
    assert launcher("finetune.py") == ["python"]


ASKED_FOR_TWO = ["accelerate", "launch", "--cpu", "--num_processes", "2", str(ROOT / "recipes" / "finetune.py")]


def test_one_process_where_two_were_asked_for_is_refused(monkeypatch, tmp_path):
    """Before anything else: no corpus is sought."""
    parent = SimpleNamespace(cmdline=lambda: ["python", *ASKED_FOR_TWO, "--use_cpu", "true"])
    monkeypatch.setattr(launch, "psutil", SimpleNamespace(Process=lambda: SimpleNamespace(parent=lambda: parent)))
    message = exit_message(monkeypatch, "--use_cpu", "true", "--dataset_name", str(tmp_path / "none.csv"))
    assert message.startswith("finetune.py: num_processes is 2, but 1 process(es) run")


@pytest.mark.slow
def test_one_process_of_accelerate_where_two_were_asked_for_is_refused():
    """`accelerate launch --cpu --num_processes 2` starts one, and says nothing."""
    done = forked.run([*ASKED_FOR_TWO, "--use_cpu", "true"], cwd=ROOT)
    assert done.returncode != 0
    assert "finetune.py: num_processes is 2, but 1 process(es) run" in done.stderr
