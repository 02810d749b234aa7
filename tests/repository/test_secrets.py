"""A token is used and appears nowhere: not in logs, configs, cards or reports, neither here nor on the Hub."""

import logging

import pytest

from finetuning import finetune, write_inputs
from hub_faults import Fault
from hub_server import HubServer

TOKEN = "hf_SecretSecretSecretSecretSecret"


@pytest.mark.parametrize("given", ["hub_token", pytest.param("HF_TOKEN", marks=pytest.mark.slow)])
def test_a_token_appears_nowhere(tmp_path, endpoint, monkeypatch, capfd, caplog, given):
    """Of a run with checkpoints and curves, whose final push fails once and then succeeds with the same command."""
    write_inputs(tmp_path)
    output_dir = tmp_path / "out"
    options = [
        "--push_to_hub",
        "--hub_model_id",
        "me/tones",
        "--hub_strategy",
        "every_save",
        "--report_to",
        "tensorboard",
    ]
    if given == "hub_token":
        options += ["--hub_token", TOKEN]
    caplog.set_level(logging.DEBUG)
    argv = [str(tmp_path / "config.yaml"), "--output_dir", str(output_dir), "--max_steps", "2", *options]
    with HubServer(Fault("/commit/main", status=403, after=1, times=1), tokens={TOKEN: "write"}) as hub:
        endpoint(hub.url, TOKEN if given == "HF_TOKEN" else None)
        with pytest.raises(ConnectionError, match="hf upload me/tones") as failed:
            finetune(*argv)
        finetune(*argv)
    written = {path: path.read_bytes() for path in output_dir.rglob("*") if path.is_file()}
    assert {path.name for path in written} >= {
        "run.json",
        "recipe.json",
        "training_args.bin",
        "README.md",
        "index.html",
    }
    assert any(path.name.startswith("events.out.tfevents") for path in written)
    assert ("hub", f"Bearer {TOKEN}") in hub.used_tokens
    uploaded = [content for files in hub.model("me/tones").history for content in files.values()]
    said = capfd.readouterr()
    for content in (*written.values(), *uploaded):
        assert TOKEN.encode() not in content
    for text in (said.out, said.err, caplog.text, str(failed.value), *map(str, written)):
        assert TOKEN not in text
