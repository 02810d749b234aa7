"""What is read from the Hub by its id, on the loopback: streamed datasets and models, on good days and bad ones."""

import hashlib
import json
import multiprocessing
import re
import socket
from pathlib import Path

import datasets
import huggingface_hub.constants
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import tiny
from deepspeech2.config.arguments import RecipeTrainingArguments
from deepspeech2.data.audio.recordings import AudioError, fetch_audio
from deepspeech2.data.batching import Position, RowSource, Shards
from deepspeech2.data.corpora import load_corpus
from deepspeech2.model.loading import load_model
from deepspeech2.system import network
from deepspeech2.training import run as training_run
from finetuning import CONFIG, SIZES, exit_message, finetune, results
from hub_faults import Fault
from hub_repositories import Repository
from hub_server import HubServer

TOKENS = {"hf_write": "write", "hf_read": "read"}
TRAIN = [f"train-{shard}{index}" for shard in (0, 1) for index in range(6)]
BUSY = {"status": 503}
FAULTS = {
    "500": {"status": 500},
    "429": {"status": 429, "headers": {"Retry-After": "7"}},
    "cut": {"cut": True},
    "silent": {"delay_s": 0.5},
}


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
    settings = CONFIG | {"dataset_name": "me/speech", "eval_split": "validation", "test_split": []} | more
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
    finetune(config_file(tmp_path, max_steps=-1, num_train_epochs=1, **SIZES), "--output_dir", str(tmp_path / "out"))
    found = results(tmp_path / "out")
    assert found["results"]["after training"]["validation"]["num_utterances"] == 5
    assert {token for host, token in hub.used_tokens if host == "storage"} == {None}
    assert "datasets:\n- me/speech\n" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_scored_split_is_fetched_once_however_often_it_is_scored(tmp_path, hub, speech, workers, monkeypatch):
    """Two evaluations cost as many requests as one, and score the same. Its worker ends with the training."""
    fetched, scored, alive = [], [], []

    def load_trained(*args):
        alive.extend(multiprocessing.active_children())
        return load_model(*args)

    monkeypatch.setattr(training_run, "load_model", load_trained)
    for eval_steps in (2, 1):
        hub.requests.clear()
        output_dir = tmp_path / f"every{eval_steps}"
        more = {"eval_steps": eval_steps, "max_steps": 2, **SIZES, "dataloader_num_workers": workers}
        finetune(config_file(tmp_path, **more), "--output_dir", str(output_dir))
        fetched.append(sum("validation-0" in line for line in hub.requests))
        log = json.loads((output_dir / "trainer_state.json").read_text())["log_history"]
        scored.append([line["eval_loss"] for line in log if "eval_loss" in line])
    assert [len(losses) for losses in scored] == [1, 2] and scored[0][0] == scored[1][1]
    assert fetched[0] == fetched[1] > 0
    assert not alive


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
    "gated, not accepted": ["gated", "accept its conditions on its page"],
    "offline": ["HF_HUB_OFFLINE"],
    "nobody there": ["The Hub cannot be reached"],
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
    name = {"dataset": "me/speech", "model": "me/tones"}[kind]
    arrange(case, hub.repositories[f"{kind}s/{name}"], hub, endpoint, monkeypatch)
    if kind == "dataset":
        argv = [config_file(tmp_path, **SIZES)]
    else:
        manifest = str(tiny.write_corpus(tmp_path, "train", 3))
        argv = [config_file(tmp_path, dataset_name=manifest, eval_split="train"), "--model_name_or_path", name]
    message = exit_message(monkeypatch, *argv, "--output_dir", str(tmp_path / "out"))
    assert message.startswith("finetune.py: ") and repr(name) in message
    first, *others = TOLD[case]
    assert any(one in message for one in first.split("|")) and all(one in message for one in others)
    assert "hf_" not in message and not list((tmp_path / "out").glob("checkpoint-*"))


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] if kind in ("429", "silent") else []) for kind in FAULTS]
)
@pytest.mark.parametrize(
    "asked",
    [
        "HEAD .*README",
        "GET /api/datasets/me/speech$",
        "/revision/",
        "/tree/",
        "GET .*resolve.*train-0",
        "GET /objects/",
    ],
)
def test_a_fault_that_passes_is_waited_for(hub, endpoint, monkeypatch, kind, asked):
    """By the client of the Hub where it does, by us where it does not: the dataset's first files."""
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT", "DEFAULT_ETAG_TIMEOUT"):
        monkeypatch.setattr(huggingface_hub.constants, name, 0.25)
    monkeypatch.setattr(network, "TIMEOUT_S", 0.25)
    fault = Fault(asked, times=1, **FAULTS[kind])
    hub.faults.append(fault)
    assert train_ids() == TRAIN
    assert fault.seen > 1
    if kind == "429" and "HEAD" not in asked:
        assert [pause_s for pause_s in endpoint.pauses_s if pause_s >= 7] in (
            [7],
            [8.0],
        )  # Retry-After; the client adds 1


def test_a_model_waits_too(hub, endpoint):
    """No request of loading a model ends it when it fails once; nor does one leave a model without its processor."""
    hub.faults += [
        Fault(pattern, times=1, **fault)
        for pattern in ("/revision/", "/tree/", "GET .*/processor_config", "GET /objects/")
        for fault in (FAULTS["500"], FAULTS["cut"])
    ]
    _, processor = load_model("me/tones")
    assert processor.feature_extractor.feature_size == 20
    assert all(fault.seen > 1 for fault in hub.faults)
    assert not [line for line in hub.requests if line.endswith(".py")]


def test_a_stream_goes_on_where_it_was_cut(hub, endpoint, speech):
    """The client gives up after 6 answers of 500, at the second shard: it is opened again, and no row comes twice."""
    fault = Fault(storage(speech["data/train-1.parquet"]), status=500, times=6, after=1)
    hub.faults.append(fault)
    assert train_ids() == TRAIN
    assert endpoint.pauses_s == [1, 2, 4, 8, 8, 1] and fault.seen > 7  # the last one is ours


def test_a_stream_that_ends_for_good_says_how_to_go_on(tmp_path, hub, endpoint, monkeypatch, speech):
    """And with it the training, from its checkpoint."""
    steps = {"max_steps": 12, "eval_steps": 4, "save_steps": 4, "window_size": 6}
    argv = [config_file(tmp_path, **steps, **SIZES), "--output_dir", str(tmp_path / "out")]
    hub.faults.append(Fault(storage(speech["data/train-1.parquet"]), status=500, after=5))
    message = exit_message(monkeypatch, *argv)
    assert message.startswith("finetune.py: me/speech/train cannot be read any further: ")
    assert "500 Internal Server Error" in message and "run the same command again" in message
    assert "Traceback" not in message
    assert (tmp_path / "out" / "checkpoint-4").is_dir()
    hub.faults.clear()
    finetune(*argv)
    assert results(tmp_path / "out")["run"]["optimizer steps"] == "12 of 12"


LIMIT = {"RateLimit": '"resolvers";r=0;t=240', "RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300'}
ASKED = {
    "listing": "/tree/",
    "opening": "GET .*resolve.*train-0",
    "reading": "GET .*resolve.*train-1",
    "its own loop": "/api/datasets/me/speech$",
}


@pytest.mark.parametrize("asked", ASKED)
def test_at_the_limit_of_requests_each_wait_is_told(hub, endpoint, caplog, asked):
    """Once refused by the header of the limit: the wait that it asks for, in one sentence, then every row once."""
    hub.faults.append(Fault(ASKED[asked], status=429, times=1, headers=LIMIT))
    assert train_ids() == TRAIN
    assert [pause_s for pause_s in endpoint.pauses_s if pause_s > 30] in ([240], [241])  # the client adds 1
    (told,) = [record.getMessage() for record in caplog.records if "allows no more" in record.getMessage()]
    path, _, rest = told.partition(": ")
    assert path.startswith(("/api/datasets/me/speech", "/datasets/me/speech/resolve/"))
    assert rest.startswith(
        "the Hub allows no more requests for now (the limit is 3,000 requests in 300 s), waiting 240 s. A token raises "
        "the limit (`hf auth login` or HF_TOKEN)"
    )
    assert "`hf download --repo-type dataset NAME --include" in rest


@pytest.mark.parametrize("asked", ASKED)
def test_the_limit_of_requests_is_waited_for_15_minutes_in_all(hub, endpoint, monkeypatch, asked):
    """In whatever loops of ours, the client's and datasets': 3 times 241 s fit in. Other processes wait longer."""
    monkeypatch.setattr(network, "monotonic", lambda: float(sum(endpoint.pauses_s)))
    hub.faults.append(Fault(ASKED[asked], status=429, headers=LIMIT))
    with pytest.raises((ConnectionError, ValueError)) as told:
        train_ids()
    assert "A token raises the limit" in str(told.value)
    last = r"After 72\d s of waiting, it asks for 240 s more; a run waits for 900 s at most"
    assert re.search("Retry after 240 seconds" if asked == "its own loop" else last, str(told.value))
    assert 700 < sum(endpoint.pauses_s) < network.MAX_PATIENCE_S < RecipeTrainingArguments.ddp_timeout


def with_rows(*rows: dict) -> dict[str, bytes]:
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
    return {"data/train-0.parquet": buffer.getvalue().to_pybytes()}


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
        "../../secret.wav",
        "hf://datasets/somebody/else@main/a.wav",
        "file:///etc/passwd::hf://datasets/me/outside@{commit}/a.wav",
        "zip://a.wav::/home/me/archive.zip",
    ],
)
def test_a_dataset_names_only_files_of_its_own(hub, path):
    """Neither of this machine nor of its network; and no text of another file, which would end in the card."""
    row = {"audio": {"bytes": None, "path": path}, "text": "said", "text_path": "/etc/passwd"}
    repository = hub.add_dataset("me/outside", with_rows(row))
    row["audio"]["path"] = path.format(commit=repository.find("main")[0])
    (corpus,) = load_corpus("me/outside")
    (example,) = corpus.stream
    assert example["text"] == "said"
    with pytest.raises(AudioError, match="lies outside its corpus"):
        fetch_audio(example["audio"])


def test_an_audio_folder_on_the_hub(hub, tmp_path):
    """Recordings and metadata.csv, as `datasets` reads them, without torchcodec."""
    wav = (tiny.write_corpus(tmp_path, "train", 1).parent / "train0.wav").read_bytes()
    hub.add_dataset("me/folder", {"train/a.wav": wav, "train/metadata.csv": b"file_name,text\na.wav,said\n"})
    (example,) = load_corpus("me/folder")[0].stream
    assert example["text"] == "said" and example["id"].endswith("train/a.wav")
    assert fetch_audio(example["audio"])["bytes"] == wav


def test_files_beside_the_table_are_fetched(hub, speech, tmp_path):
    """Of the repository itself, by their path in it."""
    wav = (tiny.write_corpus(tmp_path, "train", 1).parent / "train0.wav").read_bytes()
    row = {"audio": {"bytes": None, "path": "clips/a.wav"}, "text": "said"}
    hub.add_dataset("me/beside", with_rows(row) | {"clips/a.wav": wav})
    (example,) = load_corpus("me/beside")[0].stream
    assert example["audio"]["path"].endswith("/clips/a.wav")
    assert fetch_audio(example["audio"])["bytes"] == wav


FILES, READERS = 63, 16  # half of LibriSpeech's training splits on the Hub, and 4 GPUs with 4 data workers each


def test_readers_do_not_exceed_the_budget_of_requests(endpoint, tmp_path):
    """
    The Hub allows 3,000 requests in five minutes. Before the first row each reader asks for its first file alone, and
    in an epoch each file is asked for by one reader. 63 files for 16 readers: one reads three, the others four.
    """
    row = {"audio": {"bytes": b"RIFF", "path": "a.wav"}, "text": "a", "speaker_id": "s"}
    files = {}
    for index in range(FILES):
        pq.write_table(pa.Table.from_pylist([row | {"id": f"{index}"}]), tmp_path / "0.parquet")
        files[f"data/train-{index:05d}-of-{FILES:05d}.parquet"] = (tmp_path / "0.parquet").read_bytes()
    with HubServer() as server:
        server.add_dataset("me/many", files)
        endpoint(server.url)
        (corpus,) = load_corpus("me/many", None, "train")
        server.requests.clear()
        sources = [RowSource(Shards([corpus], READERS), reader, 1, Position()) for reader in range(READERS)]
        first = [source.take(1, across_epochs=False)[0].example["id"] for source in sources]
        resolved = [line for line in server.requests if "/resolve/" in line]
        assert len({*first}) == READERS and len(resolved) <= 2 * READERS
        rest = [[row.example["id"] for row in source.take(FILES, across_epochs=False)] for source in sources]
        assert sorted(map(int, [*first, *(one for some in rest for one in some)])) == list(range(FILES))
        assert {len(some) + 1 for some in rest} == {3, 4}
        assert len([line for line in server.requests if "/resolve/" in line]) <= 2 * FILES
