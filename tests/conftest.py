# ruff: noqa: E402
"""What every test gets: no network, one thread, seeds; and real speech, where the machine has it."""

import functools
import gc
import multiprocessing
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Set before any Hugging Face library is imported, and inherited by the processes that tests start.
# `HF_HUB_OFFLINE=0 pytest -m hub` is the way to the real Hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", os.environ["HF_HUB_OFFLINE"])
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="deepspeech2_tests_hf_home_")

# Imports make a million objects that stay. The collector need not look at them again and again, here or in a fork.
gc.set_threshold(100_000)

import torch.utils.data

# In s: an idle data worker looks that often whether its loader is gone. A loader in a cycle of garbage waits for it.
torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL = 0.5

import datasets
import huggingface_hub.constants
import numpy as np
import pytest
from huggingface_hub import HfFileSystem
from huggingface_hub.utils import _http, close_session

import pictures
from deepspeech2.config import parser
from deepspeech2.data import corpora
from deepspeech2.decoding import decoder
from forked import FEW_LOCAL_SHARDS

REPOSITORY = Path(__file__).resolve().parent.parent
LEFT_OUT_HINTS = {
    "slow": "make test-slow",
    "gpu": "make test-gpu",
    "hub": "HF_HUB_OFFLINE=0 pytest -m hub",
}
_left_out: Counter[str] = Counter()

torch.set_num_threads(1)
corpora.MAX_LOCAL_SHARDS = FEW_LOCAL_SHARDS
os.fsync = lambda descriptor: None  # what a test writes need not outlive the power, and the disk takes 4 ms for each
pictures.Figure.savefig = pictures.leave_blank
parser.default_settings = functools.cache(parser.default_settings)  # half of the time that a recipe is parsed for


def pytest_collection_finish() -> None:
    """What the test modules have imported stays, too."""
    gc.freeze()


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same state of the global random generators, on one thread."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def librispeech_root() -> Path:
    """A folder of real LibriSpeech in the Hub's layout, named by LIBRISPEECH_ROOT; skips without it."""
    return _folder_from_environment("LIBRISPEECH_ROOT", "a folder of LibriSpeech parquet files in the Hub's layout")


@pytest.fixture(scope="session")
def reference_root() -> Path:
    """deepspeech.pytorch's own outputs, named by DEEPSPEECH_PYTORCH_REFERENCE; skips without it."""
    return _folder_from_environment(
        "DEEPSPEECH_PYTORCH_REFERENCE", "a folder of deepspeech.pytorch checkpoints and their outputs"
    )


@pytest.fixture
def forked_workers(monkeypatch) -> None:
    """Decoder workers are forked here, because new processes import for seconds. test_decoder.py has one of those."""
    monkeypatch.setattr(decoder, "get_context", lambda kind: multiprocessing.get_context("fork"))


@pytest.fixture
def rendered() -> Iterator[None]:
    """Pictures are rendered, not left blank."""
    with pictures.rendered():
        yield


@pytest.fixture
def endpoint(monkeypatch, tmp_path):
    """
    Sends the Hub's clients to an address, from empty caches, without Xet; the waits between tries are not slept but
    listed in `endpoint.pauses_s`.
    """

    def use(url: str, token: str | None = None) -> None:
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", url)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets-cache")
        monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "datasets-cache" / "downloads")
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        monkeypatch.setenv("HTTP_PROXY", url)  # for datasets-server.127.0.0.1, where datasets seeks its viewer
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.setattr(_http.time, "sleep", lambda pause_s: use.pauses_s.append(pause_s))
        HfFileSystem.clear_instance_cache()
        close_session()

    use.pauses_s = []
    yield use
    close_session()


def _folder_from_environment(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: it names {what}")
    folder = Path(value).resolve()
    if not folder.is_dir():
        pytest.fail(f"{variable}={value} is not a folder: it must name {what}, or be unset")
    return folder


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Counts what `-m` left out, by marker."""
    for item in items:
        for marker in LEFT_OUT_HINTS:
            if item.get_closest_marker(marker):
                _left_out[marker] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says at the end of a run which tiers were left out, and how to run them."""
    for marker, hint in LEFT_OUT_HINTS.items():
        if _left_out[marker]:
            terminalreporter.write_line(f"left out: {_left_out[marker]} tests marked {marker} ({hint})")


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)
