"""What is read from the Hub by its id, on the loopback: streamed datasets and models, on good days and bad ones."""

import hashlib
import socket
from itertools import pairwise
from pathlib import Path

import datasets
import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import tiny
from deepspeech2.audio import AudioError, audio_duration_s, fetch_audio
from deepspeech2.batching import Position, RowSource, Shards
from deepspeech2.corpora import load_corpus
from deepspeech2.loading import load_model
from hub_faults import Fault
from hub_repositories import Repository
from hub_server import HubServer
from test_runs import CONFIG, SIZES, exit_message, finetune, results

TOKENS = {"hf_write": "write", "hf_read": "read"}
TRAIN = [f"train-{shard}{index}" for shard in (0, 1) for index in range(6)]
BUSY = {"status": 503}
FAULTS = {"500": {"status": 500}, "429": {"status": 429, "headers": {"Retry-After": "7"}}, "cut": {"cut": True}}


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> dict[str, bytes]:
    """A dataset's files: 12 recordings to train on in two shards, 5 to score on."""
    root = tmp_path_factory.mktemp("speech")
    files = {}
    for name, count in (("train-0", 6), ("train-1", 6), ("validation-0", 5)):
        tiny.write_parquet(tiny.write_corpus(root / name, name, count), root / "hub" / name)
        files[f"data/{name}.parquet"] = (root / "hub" / name / "0000.parquet").read_bytes()
    return files


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("model")
    for part in tiny.new_model():
        part.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(endpoint, speech, model):
    """A private dataset and a private model of `me`."""
    with HubServer(tokens=TOKENS) as server:
        server.add_dataset("me/speech", speech, private=True)
        server.repositories["models/me/tones"] = Repository(history=[model], private=True)
        endpoint(server.url, "hf_read")
        yield server


def train_ids(**options) -> list[str]:
    (corpus,) = load_corpus("me/speech", None, "train", **options)
    return [row.example["id"] for row in RowSource(Shards([corpus], 1), 0, None, Position()).rest_of_epoch()]


def config_file(folder: Path, **more) -> str:
    settings = CONFIG | {"dataset_name": "me/speech", "eval_split": "validation", "test_split": []} | SIZES | more
    (folder / "hub.yaml").write_text(yaml.safe_dump(settings))
    return str(folder / "hub.yaml")


def storage(content: bytes) -> str:
    """The pattern of the requests for a file that lies in the Hub's storage."""
    return f"GET /objects/{hashlib.sha256(content).hexdigest()}"


def test_a_run_on_a_dataset_of_the_hub(tmp_path, hub):
    """Epochs are counted, the viewer being asked for them; Parquet comes in ranges; the storage sees no token."""
    counts = {"train": 12, "validation": 5}
    splits = {name: {"name": name, "num_examples": count} for name, count in counts.items()}
    hub.repositories["datasets/me/speech"].viewer = {"default": {"splits": splits}}
    finetune(config_file(tmp_path, max_steps=-1, num_train_epochs=1), "--output_dir", str(tmp_path / "out"))
    found = results(tmp_path / "out")
    assert found["results"]["after training"]["validation"]["num_utterances"] == 5
    assert hub.used_tokens == {("hub", "Bearer hf_read"), ("storage", None)}
    assert "datasets:\n- me/speech\n" in (tmp_path / "out" / "README.md").read_text()


def test_the_parquet_files_that_the_hub_made(hub, speech):
    """Of a dataset that has none of its own, under the revision that the Hub keeps them in."""
    hub.add_dataset(
        "me/speech", {"speech.py": b"raise SystemExit('remote code')"}, refs={"refs/convert/parquet": speech}
    )
    assert train_ids(revision="refs/convert/parquet") == TRAIN
    with pytest.raises(ValueError, match="Dataset scripts are no longer supported"):
        train_ids()


def nobody(endpoint) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # taken, but nobody listens
        endpoint(f"http://127.0.0.1:{free.getsockname()[1]}")


def go_offline(monkeypatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


LOG_IN = "log in with `hf auth login` or set HF_TOKEN"
TOLD = {
    "no such name": ["cannot be accessed|Repository Not Found", LOG_IN],
    "private, no token": ["cannot be accessed|Repository Not Found", LOG_IN],
    "private, unknown token": ["Invalid credentials", LOG_IN],
    "gated, no token": ["gated", LOG_IN],
    "gated, not accepted": ["gated", "conditions accepted on its page"],
    "offline": ["HF_HUB_OFFLINE"],
    "nobody there": ["The Hub is out of reach"],
    "busy": ["The Hub is busy"],
}


def arrange(case: str, repository: Repository, hub: HubServer, endpoint, monkeypatch) -> None:
    """Makes a bad day of a repository."""
    monkeypatch.delenv("HF_TOKEN")
    repository.private, repository.gated = case.startswith("private"), case.startswith("gated")
    if case == "no such name":
        hub.repositories.clear()
    elif case == "private, unknown token":
        monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    elif case == "gated, not accepted":
        monkeypatch.setenv("HF_TOKEN", "hf_read")
    elif case == "offline":
        go_offline(monkeypatch)
    elif case == "nobody there":
        nobody(endpoint)
    elif case == "busy":
        hub.faults.append(Fault("HEAD|GET", **BUSY))


@pytest.mark.parametrize("case", TOLD)
@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_what_cannot_be_read_is_told_before_training(tmp_path, hub, endpoint, monkeypatch, kind, case):
    arrange(
        case,
        hub.repositories["datasets/me/speech" if kind == "dataset" else "models/me/tones"],
        hub,
        endpoint,
        monkeypatch,
    )
    options = ["--output_dir", str(tmp_path / "out"), "--max_steps", "1"]
    if kind == "model":
        manifest = str(tiny.write_corpus(tmp_path, "train", 3))
        config = config_file(tmp_path, dataset_name=manifest, eval_split="train")
        options += ["--model_name_or_path", "me/tones"]
        message = exit_message(monkeypatch, config, *options)
        assert message.startswith("finetune.py: model_name_or_path 'me/tones' cannot be loaded")
    else:
        message = exit_message(monkeypatch, config_file(tmp_path), *options)
        assert message.startswith("finetune.py: cannot open split 'train' of the dataset 'me/speech'")
    first, *others = TOLD[case]
    assert any(one in message for one in first.split("|")) and all(one in message for one in others), message
    assert "hf_" not in message and not list((tmp_path / "out").glob("checkpoint-*"))


REQUESTS = [
    "HEAD .*README",
    "GET /api/datasets/me/speech$",
    "/revision/",
    "/tree/",
    "GET .*resolve.*train-0",
    "GET /objects/",
]


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("asked", REQUESTS)
def test_a_fault_that_passes_is_waited_for(hub, endpoint, kind, asked):
    fault = Fault(asked, times=1, **FAULTS[kind])
    hub.faults.append(fault)
    assert train_ids() == TRAIN
    assert fault.seen > 1
