"""A run killed by SIGKILL at any moment, started again by the same command, is the run that was not: to the bit."""

import json
import random
import socket
import sys
import time

import kill as benchmark
import pytest
import torch
from kill import different_losses, different_weights, kill, launch, losses
from safetensors.torch import save_file

from forked import Forked
from killed_runs import quick_start as quick_start
from killed_runs import wait_for, write_run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "stream", "settings"),
    [
        (1, False, {"ema_decay": 0.9, "logging_steps": 3}),
        (1, True, {"dataloader_num_workers": 2}),
        (
            2,
            True,
            {"eval_strategy": "steps", "eval_steps": 5, "load_best_model_at_end": True, "early_stopping_patience": 9},
        ),
        (2, False, {"dataloader_num_workers": 2, "ema_decay": 0.9, "gradient_accumulation_steps": 2}),
        (2, False, {"domain_adversarial_weight": 0.5, "mwer_weight": 0.5, "entropy_weight": 0.1}),
    ],
)
def test_a_killed_run_is_the_uninterrupted_one(tmp_path, processes, stream, settings):
    config = write_run(tmp_path, stream, **settings)
    log = tmp_path / "log"
    assert launch([str(config)], tmp_path / "whole", log, processes).wait(timeout=240) == 0, log.read_text()

    parts, rng = tmp_path / "parts", random.Random(0)
    for step in (5, 20):
        running = launch([str(config)], parts, log, processes)
        wait_for(lambda step=step: (parts / f"checkpoint-{step}").is_dir(), log)
        time.sleep(rng.random() / 4)
        kill(running)
        assert not (parts / "model.safetensors").exists()
    assert launch([str(config)], parts, log, processes).wait(timeout=240) == 0, log.read_text()
    assert "resuming from" in log.read_text()

    count = 40 if "logging_steps" not in settings else 13 + 6  # 3, 6, ... 39, and 5, 10, 20, ... 40
    assert len(losses(tmp_path / "whole")) == len(set(losses(tmp_path / "whole"))) == count
    assert different_losses(parts, tmp_path / "whole") == 0
    assert different_weights(parts, tmp_path / "whole") == 0


@pytest.mark.slow
def test_when_a_machine_dies_the_other_stops_and_names_it(tmp_path):
    """Two launchers as two machines on the loopback; the second one's power goes, then both start again."""
    config = write_run(tmp_path, max_steps=100)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logs = [tmp_path / f"log{rank}" for rank in (0, 1)]

    def start() -> list[Forked]:
        together = ["--num_machines", "2", "--main_process_ip", "127.0.0.1", "--main_process_port", str(port)]
        return [
            launch([str(config)], tmp_path / "run", log, 2, [*together, "--machine_rank", log.name[-1]]) for log in logs
        ]

    first, second = start()
    wait_for(lambda: (tmp_path / "run" / "checkpoint-10").is_dir(), logs[0])
    kill(second)
    died = time.monotonic()
    assert first.wait(timeout=60) != 0
    assert time.monotonic() - died < 45
    named = f"cannot go on without process 1 on {socket.gethostname()}, which ended or hangs"
    assert named in logs[0].read_text()

    assert [process.wait(timeout=240) for process in start()] == [0, 0], logs[0].read_text()
    assert "resuming from" in logs[0].read_text() and len(losses(tmp_path / "run")) == 100


@pytest.mark.slow
def test_the_benchmark_kills_and_compares(tmp_path, monkeypatch, capsys):
    config, folder = write_run(tmp_path, max_steps=240, save_steps=10), tmp_path / "kill"
    monkeypatch.setattr(sys, "argv", ["kill.py", str(config), "--kills", "4", "--folder", str(folder)])
    benchmark.main()
    table = capsys.readouterr().out
    killed = [int(line.split("|")[2]) for line in table.splitlines() if line.startswith("| killed")]
    assert sum(killed) == 4 and (folder / "kill.md").read_text() == table
    assert "| tensors of the final weights that differ from the uninterrupted run | 0 |" in table


def test_a_difference_is_seen(tmp_path):
    for name, loss in (("one", 1.0), ("two", 1.5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").write_text(json.dumps({"log_history": [{"loss": loss}, {"epoch": 1}]}))
        save_file({"same": torch.zeros(2), "own": torch.full((2,), loss)}, tmp_path / name / "model.safetensors")
    assert different_losses(tmp_path / "one", tmp_path / "two") == 1
    assert different_weights(tmp_path / "one", tmp_path / "two") == 1
    assert different_weights(tmp_path / "one", tmp_path / "one") == 0
