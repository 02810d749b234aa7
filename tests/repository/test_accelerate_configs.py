"""Every file of accelerate_configs/ is read by the pinned accelerate, and starts the ranks that it says."""

import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin, patch_environment
from accelerate.utils.launch import prepare_multi_gpu_env

import forked

FOLDER = Path(__file__).resolve().parents[2] / "accelerate_configs"
NAMES = ["cpu", "cpu_ddp", "single_gpu", "multi_gpu", "multi_node", "fsdp2", "deepspeed_zero2"]

# Joins the ranks the way the Trainer does, sums (rank + 1) over them, prints one line each.
RANK_SCRIPT = """
import sys, torch
from transformers import TrainingArguments
args = TrainingArguments(output_dir=sys.argv[1], use_cpu=True)
total = torch.tensor([args.process_index + 1])
torch.distributed.all_reduce(total)
print(f"world={args.world_size} backend={torch.distributed.get_backend()} sum={total.item()}", flush=True)
torch.distributed.destroy_process_group()
"""


def launch_arguments(name: str, *extra: str) -> Namespace:
    """What `accelerate launch --config_file NAME.yaml EXTRA... script.py` would run with."""
    parser = launch_command_parser()
    args = parser.parse_args(["--config_file", str(FOLDER / f"{name}.yaml"), *extra, "script.py"])
    return _validate_launch_command(args)[0]


def command(name: str, *extra: str, script: Path) -> list[str]:
    accelerate = str(Path(sys.executable).with_name("accelerate"))
    return [
        accelerate,
        "launch",
        "--config_file",
        str(FOLDER / f"{name}.yaml"),
        *extra,
        str(script),
        str(script.parent),
    ]


def rank_script(folder: Path) -> Path:
    path = folder / "ranks.py"
    path.write_text(RANK_SCRIPT)
    return path


def test_the_folder_holds_these_files() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_parses_and_passes_the_launchers_validation(name: str) -> None:
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    args = launch_arguments(name)
    assert args.num_processes == config.num_processes
    assert args.mixed_precision == ("no" if name.startswith("cpu") else "bf16")
    started_with_several_ranks = args.multi_gpu or args.use_fsdp or args.use_deepspeed
    assert started_with_several_ranks == (name not in ("cpu", "single_gpu"))


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_key_fails(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text((FOLDER / f"{name}.yaml").read_text().replace("\nnum_machines:", "\nnum_machine:"))
    with pytest.raises(ValueError, match=r"unknown keys.*num_machine"):
        load_config_from_file(str(path))


@pytest.mark.parametrize("name", NAMES)
def test_nested_keys_are_launch_options(name: str) -> None:
    """accelerate itself does not check the keys inside `fsdp_config` and `deepspeed_config`."""
    options = vars(launch_command_parser().parse_args(["script.py"]))
    for section in yaml.safe_load((FOLDER / f"{name}.yaml").read_text()).values():
        for key in section if isinstance(section, dict) else ():
            assert key in options


@pytest.mark.parametrize("name", NAMES)
def test_opens_with_the_command_that_uses_it(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    comment = "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    assert re.search(rf"accelerate launch --config_file accelerate_configs/{name}\.yaml .*recipes/\w+\.py", comment)


def test_single_and_multi_gpu_differ_in_two_lines() -> None:
    single, multi = (yaml.safe_load((FOLDER / f"{name}.yaml").read_text()) for name in ("single_gpu", "multi_gpu"))
    assert list(single) == list(multi)
    assert [key for key in single if single[key] != multi[key]] == ["distributed_type", "num_processes"]


def test_machine_rank_and_address_come_from_the_command_line() -> None:
    args = launch_arguments("multi_node", "--machine_rank", "1", "--main_process_ip", "10.1.2.3")
    assert (args.machine_rank, args.main_process_ip, args.num_machines) == (1, "10.1.2.3", 2)
    prepare_multi_gpu_env(args)
    assert (args.nnodes, args.nproc_per_node, args.node_rank) == ("2", "8", 1)  # 16 processes on 2 machines


def test_fsdp2_is_version_2_and_has_no_key_of_version_1() -> None:
    args = launch_arguments("fsdp2")
    assert load_config_from_file(str(FOLDER / "fsdp2.yaml")).distributed_type == DistributedType.FSDP
    environment = prepare_multi_gpu_env(args)
    with patch_environment(**{key: value for key, value in environment.items() if key.startswith("FSDP_")}):
        assert FullyShardedDataParallelPlugin().fsdp_version == 2
    keys = yaml.safe_load((FOLDER / "fsdp2.yaml").read_text())["fsdp_config"]
    version_1_only = {"forward_prefetch", "backward_prefetch", "sync_module_states", "use_orig_params"}
    assert not {f"fsdp_{key}" for key in version_1_only} & set(keys)


@pytest.mark.slow
def test_cpu_ddp_starts_two_ranks(tmp_path: Path) -> None:
    words = command("cpu_ddp", script=rank_script(tmp_path))
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.count("world=2 backend=gloo sum=3") == 2, done.stderr  # 1 + 2


@pytest.mark.slow
def test_multi_node_joins_two_machines_on_loopback(tmp_path: Path) -> None:
    with_one_rank_each = ["--main_process_ip", "127.0.0.1", "--num_processes", "2"]
    script = rank_script(tmp_path)
    machines = {}
    for rank in "01":
        with (tmp_path / rank).open("w") as file:
            words = command("multi_node", *with_one_rank_each, "--machine_rank", rank, script=script)
            machines[rank] = forked.Forked(words, stdout=file, stderr=file)
    for rank, machine in machines.items():
        assert machine.wait(timeout=120) == 0, (tmp_path / rank).read_text()
        assert (tmp_path / rank).read_text().count("world=2 backend=gloo sum=3") == 1
