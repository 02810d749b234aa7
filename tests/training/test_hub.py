"""push_run against a server on the loopback: what goes up, what stays, and what is said when nothing goes."""

import shlex
import socket
from contextlib import nullcontext
from pathlib import Path

import pytest
from huggingface_hub import ModelCardData

import tiny
from deepspeech2.data.audio.recordings import audio_duration_s
from deepspeech2.data.corpora import load_corpus
from deepspeech2.system import network
from deepspeech2.training import hub
from deepspeech2.training import results as write_up
from deepspeech2.training.hub import LEFT_BEHIND, open_repository, push_run, pushed
from finetuning import exit_message, finetune, write_inputs
from hub_faults import Fault
from hub_repositories import Repository
from hub_server import HubServer

STAYS = [
    "checkpoint-3/model.safetensors",
    "checkpoint-3/optimizer.pt",
    "from-random-weights/model.safetensors",
    "from-random-weights/checkpoint-3/optimizer.pt",
    "drops/reader-00000.jsonl",
    "scores-after/test.jsonl",
    "training_args.bin",
    "run.log",
]
GOES = ["results.json", "report/index.html", "report/results.png", "plots/results.png", "runs/a/events.out.tfevents.0"]
METADATA = ModelCardData(language="en", license="mit")
CODE = [f"{part}_deepspeech2.py" for part in ("configuration", "feature_extraction", "modeling", "processing")]


@pytest.fixture
def run_folder(tmp_path) -> Path:
    """What recipes/finetune.py leaves: a model with its code, a card, a report, and what only this machine needs."""
    folder = tmp_path / "my-run"
    for part in tiny.new_model():
        part.save_pretrained(folder)
    for name in [*STAYS, *GOES]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"content of {name}".encode())
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n# my-run\n")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_push_takes_the_model_and_leaves_the_rest(run_folder, endpoint):
    with HubServer() as hub:
        endpoint(hub.url)
        address = push_run(run_folder, "somebody/model", token="hf_x", private=True)
        again = push_run(run_folder, "somebody/model", token="hf_x")
    assert address.startswith(f"{hub.url}/somebody/model/commit/") and again == address
    uploaded = hub.model("somebody/model").files
    local = files(run_folder)
    assert uploaded == {name: content for name, content in local.items() if name not in STAYS}
    assert set(uploaded) >= {"model.safetensors", "config.json", "processor_config.json", "README.md", *CODE, *GOES}
    # None where a file is put: the address itself is the permission. None is asked for to check a card.
    assert hub.used_tokens == {("hub", "Bearer hf_x"), ("hub", None), ("storage", None)}
    assert hub.model("somebody/model").private
    # The second push changed nothing and committed nothing. The weights went by LFS.
    assert hub.messages == ["Add the trained model with its card and report"]
    assert local["model.safetensors"] in hub.objects.values()
    assert sum(line.startswith("PUT") for line in hub.requests) == len(hub.objects)


def test_the_folder_names_the_repository(run_folder, endpoint):
    with HubServer(user="me") as hub:
        endpoint(hub.url)
        push_run(run_folder, None, token="hf_x")
    assert list(hub.repositories) == ["models/me/my-run"] and not hub.model("me/my-run").private


def test_a_finished_run_is_pushed(tmp_path, endpoint):
    """recipes/finetune.py with --push_to_hub: the card names the repository, checkpoints and training state stay."""
    write_inputs(tmp_path)
    options = ["--push_to_hub", "--hub_model_id", "me/tones", "--hub_token", "hf_x", "--hub_private_repo", "true"]
    with HubServer() as hub:
        endpoint(hub.url)
        finetune(str(tmp_path / "config.yaml"), "--output_dir", str(tmp_path / "out"), "--max_steps", "2", *options)
    uploaded = hub.model("me/tones").files
    assert hub.model("me/tones").private and len(hub.messages) == 1
    assert set(uploaded) >= {"model.safetensors", "report/index.html", "results.json", *CODE}
    assert not [name for name in uploaded if name.startswith(("checkpoint-", "scores-", "drops"))]
    assert 'from_pretrained("me/tones"' in uploaded["README.md"].decode()
    assert not [name for name, content in uploaded.items() if b"hf_x" in content]


def test_checkpoints_are_pushed_along_the_way(tmp_path, endpoint):
    """After steps 2 and 4 the model alone, at the end everything; training does not stop where an upload fails."""
    write_inputs(tmp_path)
    options = ["--push_to_hub", "--hub_model_id", "me/tones", "--hub_token", "hf_x", "--hub_strategy", "every_save"]
    with HubServer() as hub:
        endpoint(hub.url)
        finetune(str(tmp_path / "config.yaml"), "--output_dir", str(tmp_path / "out"), *options)
    assert hub.messages == [
        "Training in progress, step 2",
        "Training in progress, step 4",
        "Add the trained model with its card and report",
    ]
    uploaded = hub.model("me/tones").files
    assert "trainer_state.json" in uploaded and not [name for name in uploaded if name.endswith((".pt", ".bin"))]
    assert not [name for name, content in uploaded.items() if b"hf_x" in content]
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() and b"hf_x" in path.read_bytes()]


def test_a_failed_push_of_a_checkpoint_does_not_stop_the_training(tmp_path, endpoint, caplog):
    write_inputs(tmp_path)
    options = ["--push_to_hub", "--hub_model_id", "me/tones", "--hub_token", "hf_x", "--hub_strategy", "every_save"]
    with HubServer(Fault("/commit/main", status=403)) as hub:
        endpoint(hub.url)
        with pytest.raises(ConnectionError, match="Nothing is lost"):
            finetune(str(tmp_path / "config.yaml"), "--output_dir", str(tmp_path / "out"), *options)
    assert sum("a checkpoint could not be pushed" in record.message for record in caplog.records) == 2
    assert (tmp_path / "out" / "results.json").is_file()


@pytest.mark.parametrize("status, todo", [(401, "hf auth login"), (403, "hf auth login"), (500, "the same command")])
def test_a_repository_that_cannot_be_opened_is_told_before_training(tmp_path, endpoint, status, todo):
    write_inputs(tmp_path)
    options = ["--push_to_hub", "--hub_model_id", "me/tones", "--hub_token", "hf_x"]
    with HubServer(Fault("repos/create", status=status)) as hub:
        endpoint(hub.url)
        with pytest.raises(
            ConnectionError, match=r"cannot open the repository me/tones[\s\S]*No training was started"
        ) as told:
            finetune(str(tmp_path / "config.yaml"), "--output_dir", str(tmp_path / "out"), *options)
    assert todo in str(told.value) and "hf_x" not in str(told.value)
    assert not list((tmp_path / "out").glob("checkpoint-*"))


def test_the_account_completes_the_name(tmp_path, endpoint):
    with HubServer(user="me") as hub:
        endpoint(hub.url)
        assert open_repository(tmp_path / "tones", None, METADATA, token="hf_x") == "me/tones"


def test_metadata_that_the_hub_refuses_is_known_before_training(tmp_path, endpoint):
    with HubServer(Fault("validate-yaml", status=400)) as hub:
        endpoint(hub.url)
        with pytest.raises(ConnectionError, match="No training was started"):
            open_repository(tmp_path / "tones", None, METADATA, token="hf_x")


def check_failure(folder: Path, repo_id: str | None, cause: str) -> None:
    before = files(folder)
    with pytest.raises(ConnectionError) as caught:
        push_run(folder, repo_id, token="hf_x")
    message = str(caught.value)
    assert f"the push of {folder} to {repo_id or folder.name} failed" in message and cause in message
    assert f"the complete model is in {folder}" in message
    assert "hf_x" not in message
    command = shlex.split(message.splitlines()[-1])
    assert command[:5] == ["hf", "upload", repo_id or folder.name, str(folder), "."]
    assert command[5:] == [word for pattern in LEFT_BEHIND for word in ("--exclude", pattern)]
    assert files(folder) == before


def test_nobody_answers(run_folder, endpoint):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # taken, but nobody listens
        endpoint(f"http://127.0.0.1:{free.getsockname()[1]}")
        check_failure(run_folder, "somebody/model", "refused")
        check_failure(run_folder, None, "refused")


@pytest.mark.parametrize(
    "pattern, status", [("repos/create", 401), ("preupload", 403), ("objects/[0-9a-f]", 500), ("/commit/main", 503)]
)
def test_the_hub_refuses(run_folder, endpoint, pattern, status):
    """At each stage of a push; nothing is committed."""
    with HubServer(Fault(pattern, status=status)) as hub:
        endpoint(hub.url)
        check_failure(run_folder, "somebody/model", str(status))
    assert all(repository.history == [{}] for repository in hub.repositories.values())


def test_offline(run_folder):
    check_failure(run_folder, "somebody/model", "offline")


def test_a_name_that_no_repository_can_have(run_folder, endpoint):
    with HubServer() as hub:
        endpoint(hub.url)
        check_failure(run_folder, "some body/mod el", "some body/mod el")


FAULTS = {
    "500": {"status": 500},
    "429": {"status": 429, "headers": {"Retry-After": "7"}},
    "cut": {"cut": True},
    "silent": {"delay_s": 0.5},
}
ASKED_BY_US = ["repos/create", "validate-yaml", "/commit/main"]  # again; the others by the client of the Hub
REQUESTS = [*ASKED_BY_US, "preupload", "lfs/objects/batch", "PUT /objects"]


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("asked", REQUESTS)
def test_a_fault_that_passes_is_waited_for(run_folder, endpoint, monkeypatch, caplog, kind, asked):
    monkeypatch.setattr(network, "TIMEOUT_S", 0.25)
    fault = Fault(asked, times=1, **FAULTS[kind])
    with HubServer(fault) as hub:
        endpoint(hub.url)
        push_run(run_folder, "somebody/model", token="hf_x")
    assert fault.seen > 1 and len(hub.messages) == 1
    assert hub.model("somebody/model").files["model.safetensors"] == (run_folder / "model.safetensors").read_bytes()
    retry_after_s = 7 if asked in ASKED_BY_US else 7 + 1  # the client adds a second
    assert endpoint.pauses_s == [retry_after_s if kind == "429" else 1]
    assert ("timed out" in caplog.text) == (kind == "silent")


@pytest.mark.parametrize("asked", [*REQUESTS[2:], "repos/create"])
def test_a_push_that_is_cut_leaves_main_as_it_was(run_folder, endpoint, asked):
    """At whatever request: main has the former model, whole."""
    with HubServer() as hub:
        endpoint(hub.url)
        push_run(run_folder, "somebody/model", token="hf_x")
        before = hub.model("somebody/model").files
        for name in ("model.safetensors", "config.json"):
            (run_folder / name).write_bytes(b"of another run")
        hub.faults.append(Fault(asked, cut=True))
        with pytest.raises(ConnectionError, match=r"Nothing is lost[\s\S]*hf upload somebody/model"):
            push_run(run_folder, "somebody/model", token="hf_x")
    assert hub.model("somebody/model").history == [{}, before]


def test_a_checkpoint_is_pushed_whole_or_not_at_all(tmp_path, endpoint):
    """The upload of step 4 is cut for good: main keeps step 2, and the end of the run brings the rest."""
    write_inputs(tmp_path)
    options = ["--push_to_hub", "--hub_model_id", "me/tones", "--hub_token", "hf_x", "--hub_strategy", "every_save"]
    with HubServer(Fault("PUT /objects", cut=True, after=1, times=36)) as hub:  # 6 tries of the client, 6 of ours
        endpoint(hub.url)
        finetune(str(tmp_path / "config.yaml"), "--output_dir", str(tmp_path / "out"), *options)
    assert hub.messages == ["Training in progress, step 2", "Add the trained model with its card and report"]
    _, first, last = hub.model("me/tones").history
    for files in (first, last):
        assert set(files) >= {"model.safetensors", "config.json", "processor_config.json", *CODE}
    assert "README.md" in last


@pytest.mark.parametrize(
    "token, cause", [("hf_read", "403 Forbidden"), ("hf_unknown", "Invalid credentials"), (None, "Invalid credentials")]
)
def test_a_token_that_may_not_write_is_told_before_training(tmp_path, endpoint, monkeypatch, token, cause):
    """Also where the repository is there and could be read."""
    write_inputs(tmp_path)
    options = ["--push_to_hub", "--hub_model_id", "me/tones", *(["--hub_token", token] if token else [])]
    with HubServer(tokens={"hf_read": "read"}) as hub:
        hub.repositories["models/me/tones"] = Repository()
        endpoint(hub.url)
        argv = [str(tmp_path / "config.yaml"), "--output_dir", str(tmp_path / "out"), *options]
        message = exit_message(monkeypatch, *argv)
    assert message.startswith("finetune.py: --push_to_hub cannot open the repository me/tones")
    assert cause in message and "hf auth login" in message and "No training was started" in message


@pytest.mark.parametrize(
    "metadata, fault",
    [
        ("license: mine", Fault("validate-yaml", status=400)),
        ("license: [", Fault("nothing")),
        ("license: mit", Fault("validate-yaml", status=503)),
    ],
)
def test_a_card_that_is_refused_does_not_keep_the_weights_back(run_folder, endpoint, caplog, metadata, fault):
    (run_folder / "README.md").write_text(f"---\n{metadata}\n---\n# my-run\n")
    with HubServer(fault) as hub:
        endpoint(hub.url)
        push_run(run_folder, "somebody/model", token="hf_x")
    uploaded = hub.model("somebody/model").files
    assert set(uploaded) >= {"model.safetensors", "report/index.html"} and "README.md" not in uploaded
    assert "the model was pushed without its card" in caplog.text
    assert f"hf upload somebody/model {run_folder}/README.md README.md" in caplog.text


def test_a_card_that_cannot_be_written_does_not_keep_the_weights_back(tmp_path, endpoint, monkeypatch):
    write_inputs(tmp_path)
    options = ["--push_to_hub", "--hub_model_id", "me/tones", "--hub_token", "hf_x", "--max_steps", "2"]
    monkeypatch.setattr(write_up, "write_model_card", lambda *_, **__: 1 / 0)
    with HubServer() as hub:
        endpoint(hub.url)
        with pytest.raises(ZeroDivisionError):
            finetune(str(tmp_path / "config.yaml"), "--output_dir", str(tmp_path / "out"), *options)
    assert "model.safetensors" in hub.model("me/tones").files


@pytest.mark.hub
def test_librispeech_streams_from_the_real_hub():
    (corpus,) = load_corpus("openslr/librispeech_asr", "clean", "validation")
    row = next(iter(corpus.stream))
    assert row["text"].isupper() and audio_duration_s(row["audio"]) > 1
    assert corpus.num_examples == 2703 and len(corpus.revision) == 40


@pytest.mark.parametrize(
    ("error", "pushes"), [(None, 1), (OSError(28, "No space left on device"), 1), (KeyboardInterrupt(), 0)]
)
def test_weights_are_pushed_although_the_report_fails_but_not_after_ctrl_c(
    tmp_path, monkeypatch, caplog, error, pushes
):
    pushed_ones = []
    monkeypatch.setattr(hub, "push_run", lambda *where, **account: pushed_ones.append((*where, account)))
    training = tiny.training_arguments(tmp_path, push_to_hub=True, hub_model_id="you/model", hub_token="hf_x")
    with nullcontext() if error is None else pytest.raises(type(error)), pushed(training):
        if error:
            raise error
    assert pushed_ones == [(tmp_path, "you/model", {"token": "hf_x", "private": None})] * pushes
    assert ("No space left" in caplog.text) == isinstance(error, OSError)
