"""
Devices, processes and CPU threads. (`modeling_deepspeech2` chooses between two equal LSTM paths by itself.)

torch and accelerate take seconds to import, so the functions that need them import them. `count_threads` does not.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
from argparse import Namespace
from datetime import timedelta
from typing import TYPE_CHECKING

from .command_line import set_up_log

if TYPE_CHECKING:
    import torch

MAX_READERS = 8


def set_up_process(given: Namespace, num_workers: int = 1, shared: bool = False) -> torch.device:
    """
    Set up a command that runs a model: its log, its process group under `accelerate launch`, and its CPU threads.

    Args:
        given: the options `device` and `cpu_threads` of `add_compute_options`.
        num_workers: the number of worker processes beside the model. Each one takes a core. By default one process
            reads the recordings.
        shared: whether several processes can share the work of this command.

    Returns:
        The device of the model.

    Raises:
        ValueError: the device does not exist, several processes would do the same work, or they would share one GPU.
    """
    import transformers
    from accelerate import PartialState

    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    device = choose_device(given.device)
    if world_size > 1 and not shared:
        raise ValueError(
            f"this command runs in one process, but {world_size} were started; run it without `accelerate launch`"
        )
    if world_size > 1 and given.device.startswith("cuda"):
        raise ValueError(f"--device {given.device} puts all {world_size} processes on one GPU; use --device auto")
    # At the end the first process to finish waits for the last one, for hours if the corpus is large.
    state = PartialState(cpu=device.type == "cpu", timeout=timedelta(days=7))
    set_up_log(logging.INFO if state.is_main_process else logging.WARNING)
    transformers.utils.logging.disable_progress_bar()  # a bar for each weight file loaded
    set_up_cpu(given.cpu_threads, num_workers)  # last: accelerate sets its own number of threads
    return device


def count_workers(asked: int) -> int:
    """
    Return the number of worker processes for `--num_workers`. 0 means one for each core of this process.

    Raises:
        ValueError: `asked` is negative.
    """
    if asked < 0:
        raise ValueError(f"--num_workers is {asked}; expected a number of processes, or 0 for one for each core")
    return asked or max(1, available_cpus() // _processes_here())


def count_readers(device: torch.device) -> int:
    """
    Return the number of processes that read speech beside a model on `device`.

    A CPU's model is slower than one of them. A GPU's can be as fast as `MAX_READERS`.
    """
    return 1 if device.type == "cpu" else min(MAX_READERS, count_workers(0))


def set_up_cpu(threads: int = 0, num_workers: int = 0) -> int:
    """
    Set the CPU threads of torch, by `count_threads`, and the memory pages of this process. Call it before the first
    large tensor is made.

    Where Linux offers large pages (`transparent_hugepage`), torch uses them, in data workers too. Each step allocates
    hundreds of megabytes of spectrograms, and the faults of small pages would take longer than the arithmetic.

    Returns:
        The number of threads.
    """
    import torch

    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch reads it when it makes the first large tensor
    torch.set_num_threads(count_threads(threads, num_workers))
    return torch.get_num_threads()


def count_threads(threads: int = 0, num_workers: int = 0) -> int:
    """
    Return the number of CPU threads for `--cpu_threads`.

    One thread more than there are free cores slows training down: all threads wait for the slowest at every step.

    Args:
        threads: the number of threads. 0: this process's share of the cores, less one for each of its data workers.
        num_workers: the number of data workers of each process.

    Raises:
        ValueError: `threads` is negative.
    """
    if threads < 0:
        raise ValueError(
            f"cpu_threads is {threads}; expected a number of threads, or 0 for this process's share of the cores"
        )
    return threads or max(1, available_cpus() // _processes_here() - num_workers)


def choose_device(name: str) -> torch.device:
    """
    Return the device that `--device` names.

    Args:
        name: auto, cpu, cuda or cuda:N. auto means the GPU of this process if there is one, else the CPU.

    Raises:
        ValueError: the name is another one, or the GPU does not exist.
    """
    import torch

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
        raise ValueError(
            f"--device is {name!r}, but torch finds {torch.cuda.device_count()} GPUs; expected auto, cpu or one of them"
        )
    return device


def refuse_emulated_bf16(device: torch.device) -> None:
    """
    Refuse bf16 on a GPU that only emulates it, many times slower than fp32. torch and transformers accept it.

    Raises:
        ValueError: the GPU's compute capability is below 8.0.
    """
    import torch

    if device.type == "cuda" and (capability := torch.cuda.get_device_capability(device)) < (8, 0):
        raise ValueError(
            f"bf16 is true, but {torch.cuda.get_device_name(device)} (compute capability {capability[0]}."
            f"{capability[1]}) only emulates it; expected 8.0 or more. Add --bf16 false --fp16 true"
        )


def _processes_here() -> int:
    """Return the number of processes that `accelerate launch` started on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def available_cpus() -> int:
    """Return the number of cores that this process may use; on a cluster, a job may have only some of the machine."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def describe_device(device: torch.device) -> str:
    """Return the name of the GPU, or the number of CPU cores, for the log and the model card."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{available_cpus()} CPU cores"
    return f"{name}, {platform.machine()}"
