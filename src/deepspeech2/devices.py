"""What depends on the device, but for the choice between two equal LSTM paths in `modeling_deepspeech2`."""

import os
import platform
import sys

import torch


def set_cpu_threads(threads: int = 0, num_workers: int = 0) -> int:
    """
    Threads of this process: as many as asked for, or (0) its share of the cores that the data workers leave.

    A thread more than there are free cores costs far more than it brings: the others wait for it at every step.

    Args:
        threads: how many; 0: see above.
        num_workers: data workers of each process.

    Returns:
        The number of threads.
    """
    processes_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    share = _cores() // processes_here - num_workers
    torch.set_num_threads(threads or max(1, share))
    return torch.get_num_threads()


def _cores() -> int:
    """Those that this process may run on, where the system tells; a job of a cluster has few of many."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def describe_device(device: torch.device) -> str:
    """For the log and the model card: the name of the GPU, or how many cores the CPU has."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{_cores()} CPU cores"
    return f"{name}, {platform.machine()}"
