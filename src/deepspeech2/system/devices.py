"""What depends on the device, but for the choice between two equal LSTM paths in `modeling_deepspeech2`."""

import logging
import os
import platform
import sys
from argparse import Namespace
from datetime import timedelta

import torch
from accelerate import PartialState

from .command_line import set_up_log


def set_up_process(given: Namespace, num_workers: int = 1, shared: bool = False) -> torch.device:
    """
    What a command that runs a model does first: its log, its part in `accelerate launch`, its threads.

    Args:
        given: `device` and `cpu_threads`, of `add_compute_options`.
        num_workers: processes that work beside the model; one reads the recordings.
        shared: whether several processes share the work of this command.

    Returns:
        The device of the model.

    Raises:
        ValueError: a device that is not there, or several processes that would do the same work, or share one GPU.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    device = choose_device(given.device)
    if world_size > 1 and not shared:
        raise ValueError(f"this command runs in one process, but {world_size} were started: start it by `python`")
    if world_size > 1 and given.device.startswith("cuda"):
        raise ValueError(f"--device {given.device} puts all {world_size} processes on one GPU: leave it at auto")
    # The first to be ready waits for the last at the end, for hours where the corpus is large.
    state = PartialState(cpu=device.type == "cpu", timeout=timedelta(days=7))
    set_up_log(logging.INFO if state.is_main_process else logging.WARNING)
    set_up_cpu(given.cpu_threads, num_workers)  # last: accelerate sets a number of threads of its own
    return device


def count_workers(asked: int) -> int:
    """
    Processes for `--num_workers`: 0 is one for each core that this process has.

    Raises:
        ValueError: fewer than none.
    """
    if asked < 0:
        raise ValueError(f"--num_workers is {asked}; expected a number of processes, or 0 for one a core")
    return asked or max(1, available_cpus() // _processes_here())


def set_up_cpu(threads: int = 0, num_workers: int = 0) -> int:
    """
    Threads and memory pages of this process; to be called before the first large tensor is made.

    A thread more than there are free cores costs far more than it brings: the others wait for it at every step.
    Memory comes in large pages where Linux gives them (`transparent_hugepage`), in data workers too: the spectrograms
    of a step are new memory by the hundred megabytes; small pages' faults would take longer than the arithmetic.

    Args:
        threads: how many; 0: the share of the cores of this process, less those of its data workers.
        num_workers: data workers of each process.

    Returns:
        The number of threads.

    Raises:
        ValueError: fewer than none.
    """
    if threads < 0:
        raise ValueError(f"cpu_threads is {threads}; expected a number of threads, or 0 for the share of the cores")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch looks at it when it first makes a large tensor
    share = available_cpus() // _processes_here() - num_workers
    torch.set_num_threads(threads or max(1, share))
    return torch.get_num_threads()


def choose_device(name: str) -> torch.device:
    """
    That of a command's `--device`.

    Args:
        name: auto, cpu, cuda or cuda:N; auto is this process's GPU where there is one.

    Raises:
        ValueError: another name, or a GPU that is not there.
    """
    if name == "auto":
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device is {name!r}; expected auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device is {name!r}; expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device is {name!r}, but this machine has {torch.cuda.device_count()} GPUs that torch sees")
    return device


def _processes_here() -> int:
    """Those of `accelerate launch` on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def available_cpus() -> int:
    """Those that this process may run on, where the system tells; a job of a cluster has few of many."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def describe_device(device: torch.device) -> str:
    """For the log and the model card: the name of the GPU, or how many cores the CPU has."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{available_cpus()} CPU cores"
    return f"{name}, {platform.machine()}"
