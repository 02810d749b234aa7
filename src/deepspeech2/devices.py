"""What depends on the device, but for the choice between two equal LSTM paths in `modeling_deepspeech2`."""

import os
import platform

import torch


def set_cpu_threads(threads: int = 0) -> int:
    """Threads of this process: as many as asked for, or (0) its share of the cores. Returns the number."""
    processes_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 1) // processes_here))
    return torch.get_num_threads()


def describe_device(device: torch.device) -> str:
    """For the log and the model card: the name of the GPU, or how many cores the CPU has."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"
    return f"{name}, {platform.machine()}"
