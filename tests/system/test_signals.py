"""Ctrl-C and SIGTERM: the step is finished, a checkpoint written, and the same command goes on exactly."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from kill import launch, losses
from safetensors.torch import load_file
from torch.utils.data import IterableDataset
from transformers import TrainerCallback

from deepspeech2.data.streams import build_loader
from deepspeech2.system.signals import StopOnSignal
from deepspeech2.training.run import train
from finetuning import arguments, write_inputs
from killed_runs import quick_start as quick_start
from killed_runs import wait_for, write_run

EVERY_FOUR = {"max_steps": 6, "save_strategy": "steps", "save_steps": 4, "ema_decay": 0.5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("finetune")
    write_inputs(root)
    return root


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """A run that no signal stops."""
    output_dir = tmp_path_factory.mktemp("whole")
    train(*arguments(folder, output_dir, **EVERY_FOUR))
    return output_dir


class Signal(TrainerCallback):
    """Sends this process a signal in the middle of its third step, the given number of times."""

    def __init__(self, number: int, times: int = 1):
        self.number, self.times = number, times

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 2])  # a launcher passes on what the terminal has sent already
def test_a_signal_saves_and_ends(folder, whole, tmp_path, caplog, number, times):
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(SystemExit) as stopped:
        train(*arguments(folder, tmp_path / "parts", **EVERY_FOUR), [Signal(number, times)])
    assert stopped.value.code == 128 + number
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert {path.name for path in (tmp_path / "parts").glob("checkpoint-*")} == {"checkpoint-3"}
    assert "stopping after this step, with a checkpoint" in caplog.text and "stopped at step 3" in caplog.text
    train(*arguments(folder, tmp_path / "parts", **EVERY_FOUR))
    assert losses(tmp_path / "parts") == losses(whole) and len(losses(whole)) == 6
    parts, expected = (load_file(one / "model.safetensors") for one in (tmp_path / "parts", whole))
    assert all(tensor.equal(expected[name]) for name, tensor in parts.items())


def test_a_second_signal_stops_at_once(monkeypatch):
    now = [0.0]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored
    monkeypatch.setattr("deepspeech2.system.signals.time.monotonic", lambda: now[0])
    with StopOnSignal() as stop, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
        assert stop.received == signal.SIGINT
        now[0] = 3.0
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one was ignored")
    signal.signal(signal.SIGINT, before)


def test_without_a_signal_nothing_ends():
    with StopOnSignal() as stop:
        pass
    stop.end_run()


class LargeBatches(IterableDataset):
    """More than the pipe to the parent holds."""

    def __iter__(self):
        while True:
            yield np.zeros(1_000_000, np.float32)


def read_one_and_die(path: Path) -> None:
    batches = iter(build_loader(LargeBatches(), num_workers=1))
    next(batches)
    path.write_text(str(psutil.Process().children()[0].pid))
    time.sleep(0.5)  # the next one is on its way
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_data_worker_ends_with_a_parent_that_was_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("deepspeech2.system.signals.PARENT_CHECK_S", 0.2)
    parent = multiprocessing.get_context("fork").Process(target=read_one_and_die, args=[tmp_path / "pid"])
    parent.start()
    parent.join()
    assert parent.exitcode == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 30
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"the data worker {pid} outlives its parent"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_launcher_takes_its_process_along(tmp_path, number):
    """`accelerate launch` of one process passes no signal on; its end does, as SIGTERM, data workers and all."""
    config, log = write_run(tmp_path, max_steps=100_000, save_steps=100_000, dataloader_num_workers=2), tmp_path / "log"
    launcher = launch([str(config)], tmp_path / "run", log)
    wait_for(lambda: "'loss'" in log.read_text(), log)
    launcher.send_signal(number)
    launcher.wait(timeout=30)
    wait_for(lambda: "run the same command to resume from there" in log.read_text(), log, limit_s=30)
    assert len(list((tmp_path / "run").glob("checkpoint-*/files.json"))) == 1


@pytest.mark.slow
def test_two_processes_stop_at_the_same_step(tmp_path):
    """Only one is told to."""
    config, log = write_run(tmp_path, max_steps=100_000, save_steps=100_000), tmp_path / "log"
    launcher = launch([str(config)], tmp_path / "run", log, processes=2)
    wait_for(lambda: "'loss'" in log.read_text(), log)
    _, second = sorted(psutil.Process(launcher.pid).children(), key=lambda child: child.pid)
    second.send_signal(signal.SIGTERM)
    assert launcher.wait(timeout=60) != 0
    (listed,) = (tmp_path / "run").glob("checkpoint-*/files.json")
    positions = {path.name for path in listed.parent.glob("data_position_*")}
    assert positions == {"data_position_0_of_2.pt", "data_position_1_of_2.pt"}
    assert "without process" not in log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_leaves_the_data_workers_at_work(tmp_path, processes, number):
    """A terminal, a cluster and torch's launcher send it so; the launcher may end first."""
    config, log = write_run(tmp_path, max_steps=100_000, save_steps=100_000, dataloader_num_workers=2), tmp_path / "log"
    launcher = launch([str(config)], tmp_path / "run", log, processes)
    wait_for(lambda: "'loss'" in log.read_text(), log)
    everyone = [psutil.Process(launcher.pid), *psutil.Process(launcher.pid).children(recursive=True)]
    assert len(everyone) >= 1 + processes * (1 + 2)
    for one in everyone:
        one.send_signal(number)
    launcher.wait(timeout=60)
    _, alive = psutil.wait_procs(everyone, timeout=60)
    assert not alive
    assert "run the same command to resume from there" in log.read_text() and "killed by signal" not in log.read_text()
    assert len(list((tmp_path / "run").glob("checkpoint-*/files.json"))) == 1
