"""What depends on the device, but for the choice between two equal LSTM paths in `modeling_deepspeech2`."""

import os
import platform
import sys

import torch


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
    processes_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    share = available_cpus() // processes_here - num_workers
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


def available_cpus() -> int:
    """Those that this process may run on, where the system tells; a job of a cluster has few of many."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def describe_device(device: torch.device) -> str:
    """For the log and the model card: the name of the GPU, or how many cores the CPU has."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{available_cpus()} CPU cores"
    return f"{name}, {platform.machine()}"
