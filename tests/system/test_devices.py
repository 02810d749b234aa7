"""What depends on the device."""

import json
import os
import subprocess
import sys

import pytest

MAKE_TENSOR = """
import json, os, resource, sys, torch
if sys.argv[1] == "large":
    from deepspeech2.system.devices import set_up_cpu
    set_up_cpu(threads=1)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.zeros(64 * 2**18).add_(1)
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults))
"""
LARGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"


def faults_of(pages: str) -> int:
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    command = [sys.executable, "-c", MAKE_TENSOR, pages]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def given() -> bool:
    try:
        with open(LARGE_PAGES) as file:
            return "[madvise]" in file.read()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not given(), reason="this system gives no large pages on request")
def test_new_memory_comes_in_large_pages():
    """64 MiB are 16,384 pages of 4 KiB, but 32 of 2 MiB."""
    assert faults_of("small") > 16_000 and faults_of("large") < 2_000
