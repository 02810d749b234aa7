"""What depends on the device."""

import os
import subprocess
import sys
from argparse import Namespace

import pytest
import torch

from deepspeech2.system import devices
from deepspeech2.system.devices import count_workers, set_up_process

# Forks before the first tensor, when torch looks what kind of pages to ask for. As the console command imports it, the
# package needs no transformers.
MAKE_TENSORS = """
import os, resource, sys, torch
sys.argv = ["deepspeech2"]
from deepspeech2.system.devices import set_up_cpu
assert "transformers" not in sys.modules
if child := os.fork():
    os.waitpid(child, 0)
    set_up_cpu(threads=1)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.zeros(64 * 2**18).add_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults, flush=True)
"""
LARGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"


def given() -> bool:
    try:
        with open(LARGE_PAGES) as file:
            return "[madvise]" in file.read()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not given(), reason="this system gives no large pages on request")
def test_new_memory_comes_in_large_pages():
    """64 MiB are 16,384 pages of 4 KiB, but 32 of 2 MiB."""
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    done = subprocess.run([sys.executable, "-c", MAKE_TENSORS], env=environment, check=True, capture_output=True)
    small, large = map(int, done.stdout.split())
    assert small > 16_000 and large < 2_000


def test_a_process_keeps_a_core_for_each_worker_beside_the_model(monkeypatch):
    """Eight cores: two processes have four each; two workers of a process leave two threads; never fewer than one."""
    monkeypatch.setattr(devices, "available_cpus", lambda: 8)
    for processes, workers, threads in ((1, 1, 7), (2, 2, 2), (2, 4, 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert set_up_process(Namespace(device="cpu", cpu_threads=0), workers) == torch.device("cpu")
        assert torch.get_num_threads() == threads
        assert [count_workers(asked) for asked in (0, 3)] == [8 // processes, 3]
    set_up_process(Namespace(device="cpu", cpu_threads=5))
    assert torch.get_num_threads() == 5
    with pytest.raises(ValueError, match="--num_workers is -1; expected a number of processes"):
        count_workers(-1)


def test_several_processes_that_cannot_share_are_refused(monkeypatch):
    """Before they join: one that does all the work itself, and several on one GPU."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="runs in one process, but 2 were started; run it without `accelerate launch`"):
        set_up_process(Namespace(device="cpu", cpu_threads=0))
    monkeypatch.setattr(devices, "choose_device", torch.device)
    with pytest.raises(ValueError, match="--device cuda:1 puts all 2 processes on one GPU"):
        set_up_process(Namespace(device="cuda:1", cpu_threads=0), shared=True)


def test_each_process_takes_its_own_gpu(monkeypatch):
    """Of three on this machine, the one with the number that the launcher gave it; a number beyond them is refused."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert devices.choose_device("auto") == torch.device("cuda:2")
    assert [devices.choose_device(name).index for name in ("cuda", "cuda:2")] == [None, 2]
    with pytest.raises(ValueError, match="--device is 'cuda:3', but torch finds 3 GPUs"):
        devices.choose_device("cuda:3")
    for name in ("mps", "meta", "gpu"):
        with pytest.raises(ValueError, match=f"--device is '{name}'; expected auto, cpu, cuda or cuda:N"):
            devices.choose_device(name)


@pytest.mark.parametrize(("capability", "taken"), [((7, 0), False), ((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bf16_on_a_gpu_that_emulates_it_is_refused(capability, taken, monkeypatch):
    """V100 and T4: torch says that they support it."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    devices.refuse_emulated_bf16(torch.device("cpu"))
    if taken:
        devices.refuse_emulated_bf16(torch.device("cuda:0"))
        return
    with pytest.raises(
        ValueError, match=r"Some GPU \(compute capability 7\..\) only emulates.*--bf16 false --fp16 true"
    ):
        devices.refuse_emulated_bf16(torch.device("cuda:0"))
