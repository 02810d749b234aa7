"""The rival of a run is trained beside it, with the result of one after the other, and stops with it."""

import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import forked
import tiny
from deepspeech2.config.arguments import DataArguments, ModelArguments, Recipe
from deepspeech2.config.method_arguments import CommandArguments
from deepspeech2.training import rival
from deepspeech2.training.rival import fits_beside, rival_beside
from finetuning import RECIPE, finetune, results, write_inputs

OPTIONS = ["--compare_with_scratch", "--max_steps", "2", "--ema_decay", "0.5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rival")
    write_inputs(root)
    finetune(str(root / "config.yaml"), "--output_dir", str(root / "first"), "--max_steps", "2")
    return root


def run(folder: Path, name: str, cores: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with a rival on a machine with that many cores."""
    monkeypatch.setattr(rival, "available_cpus", lambda: cores)
    words = ["--model_name_or_path", str(folder / "first"), "--output_dir", str(folder / name), *OPTIONS]
    finetune(str(folder / "tune.yaml"), *words)
    return folder / name


class AtOnce(nullcontext):
    """In the place of the second process its program, here and at once."""

    def __init__(self, command: list[str], **options: object):
        assert command[:3] == [sys.executable, "-m", "deepspeech2.training.rival"]
        super().__init__(SimpleNamespace(poll=lambda: 0, wait=lambda: 0))
        rival.main(command[3:])


@pytest.mark.parametrize("process", [AtOnce, pytest.param(forked.Forked, marks=pytest.mark.slow)])
def test_beside_and_one_after_the_other_are_equal(process, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All weights of both models bit by bit, and all scores."""
    monkeypatch.setattr(rival, "subprocess", SimpleNamespace(Popen=process, STDOUT=subprocess.STDOUT))
    one_by_one, beside = (run(folder, name, cores, monkeypatch) for name, cores in (("one", 1), ("two", 2)))
    assert not (one_by_one / "from-random-weights.log").exists()
    log = (beside / "from-random-weights.log").read_text()
    assert "Traceback" not in log and ("training data:" in log or process is AtOnce)
    for part in (".", "from-random-weights"):
        before, after = (load_file(path / part / "model.safetensors") for path in (one_by_one, beside))
        assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert results(one_by_one)["results"] == results(beside)["results"]


def recipe_of(folder: Path, **options: bool) -> Recipe:
    return Recipe(ModelArguments(), DataArguments(), training=tiny.training_arguments(folder, **options))


def test_where_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A core for each thread of both; not for a rival that is trained, nor where none is asked for."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    recipe = recipe_of(tmp_path, compare_with_scratch=True)
    for cores, fits in ((2, False), (3, False), (4, True)):
        monkeypatch.setattr(rival, "available_cpus", lambda cores=cores: cores)
        assert fits_beside(recipe) == fits
    assert not fits_beside(recipe_of(tmp_path))
    assert not fits_beside(replace(recipe, commands=CommandArguments(grammar="home.yaml")))
    (tmp_path / "from-random-weights").mkdir()
    (tmp_path / "from-random-weights" / "trainer_state.json").write_text("{}")
    assert not fits_beside(recipe)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In the place of the rival's process one that runs a line of Python."""

    def start(code: str) -> None:
        script = tmp_path / "fake"
        script.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}'\n")
        script.chmod(0o755)
        monkeypatch.setattr(rival.sys, "executable", str(script))

    monkeypatch.setattr(rival, "fits_beside", lambda recipe: True)
    return start


def test_a_failure_is_said_and_not_the_end(fake, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fake("import sys; sys.exit(3)")
    with rival_beside(recipe_of(tmp_path), [], RECIPE):
        pass
    assert "the second process failed, see" in caplog.text and "from-random-weights.log" in caplog.text


def test_it_is_stopped_with_the_run(fake, tmp_path: Path) -> None:
    """It gets SIGTERM, upon which a training saves a checkpoint, and its end is waited for."""
    code = 'import signal, time; signal.signal(15, lambda *_: (print("saved", flush=True), exit(143)))'
    fake(f'{code}; print("ready", flush=True); time.sleep(60)')
    log = tmp_path / "from-random-weights.log"
    with pytest.raises(SystemExit), rival_beside(recipe_of(tmp_path), [], RECIPE):
        while not (log.exists() and "ready" in log.read_text()):
            pass
        raise SystemExit(130)
    assert json.dumps(log.read_text().split()) == '["ready", "saved"]'
