"""How the processes of a run were started. Only the command line of the launcher tells it."""

from collections.abc import Sequence
from pathlib import Path

import psutil
import yaml
from accelerate.commands.launch import launch_command_parser


def launcher(script: str) -> list[str]:
    """Return `accelerate launch` and its options if they started this process to run `script`, else `python`."""
    parent = psutil.Process().parent()
    words = parent.cmdline() if parent else []
    starts = [place for place, word in enumerate(words) if Path(word).name in ("accelerate", "accelerate-launch")]
    stops = [place for place, word in enumerate(words) if word.endswith(Path(script).name)]
    if not starts or not stops:
        return ["python"]
    return [Path(words[starts[0]]).name, *words[starts[0] + 1 : stops[0]]]


def asked_processes(words: Sequence[str]) -> int | None:
    """
    Return the number of processes that `accelerate launch` was told to start, by option or config file, or None.

    accelerate can start fewer without a warning: on a CPU it starts one, unless the config file says MULTI_GPU.

    Args:
        words: the command of `launcher`.
    """
    if words[0] == "python":
        return None
    options = list(words[2:] if words[0] == "accelerate" else words[1:])
    asked, _ = launch_command_parser().parse_known_args([*options, "script"])
    if asked.num_processes is None and asked.config_file is not None:
        return yaml.safe_load(Path(asked.config_file).read_text(encoding="utf-8")).get("num_processes")
    return asked.num_processes
