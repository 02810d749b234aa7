"""Checkpoints on the disk: whole or not there, whatever happens while one is written."""

import json
import resource

import pytest
import torch
from transformers import TrainerCallback

import tiny
from deepspeech2.training.checkpoints import (
    disk_errors,
    finish,
    keep_newest,
    last_whole_checkpoint,
    place_aside,
    refused_pickles,
    remove_unfinished,
)
from trainers import new_trainer


def write(output_dir, step: int, **files: str):
    aside = place_aside(output_dir, f"checkpoint-{step}")
    (aside / "sub").mkdir(parents=True)
    for name, text in files.items():
        (aside / "sub" / name).write_text(text)
    return finish(aside, f"checkpoint-{step}")


def test_a_checkpoint_appears_when_it_is_whole(tmp_path):
    aside = place_aside(tmp_path, "checkpoint-9")
    aside.mkdir(parents=True)
    (aside / "model").write_text("12345")
    assert last_whole_checkpoint(tmp_path) is None and not list(tmp_path.glob("checkpoint-*"))
    assert finish(aside, "checkpoint-9") == tmp_path / "checkpoint-9" == last_whole_checkpoint(tmp_path)
    assert json.loads((tmp_path / "checkpoint-9" / "files.json").read_text()) == {"model": 5}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "sub" / "a").write_text("12"), "sub/a has 2 of 3 bytes"),
        (lambda folder: (folder / "sub" / "a").unlink(), "no sub/a"),
        (lambda folder: (folder / "files.json").unlink(), "no files.json, the file that is written last"),
        (lambda folder: (folder / "files.json").write_text('{"sub/a'), "no files.json, the file that is written last"),
    ],
)
def test_a_damaged_one_is_named_and_the_one_before_taken(tmp_path, caplog, damage, message):
    write(tmp_path, 9, a="123")
    damage(write(tmp_path, 10, a="123"))
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    assert "checkpoint-10 is incomplete" in caplog.text and message in caplog.text
    assert last_whole_checkpoint(write(tmp_path, 10, a="1234").parent) == tmp_path / "checkpoint-10"  # written again


def test_what_a_killed_run_left_is_removed(tmp_path, caplog):
    remove_unfinished(tmp_path)
    assert not caplog.text
    place_aside(tmp_path, "checkpoint-3").mkdir(parents=True)
    remove_unfinished(tmp_path)
    assert "removed checkpoint-3: incomplete" in caplog.text and not list(tmp_path.iterdir())


def test_the_newest_by_step_and_the_best_stay(tmp_path):
    for step in (100, 20, 3):  # the order of their times is another
        write(tmp_path, step, a="1")
    keep_newest(tmp_path, 2, str(tmp_path / "checkpoint-3"))
    assert {folder.name for folder in tmp_path.glob("checkpoint-*")} == {"checkpoint-3", "checkpoint-100"}
    keep_newest(tmp_path, None, None)
    assert len(list(tmp_path.glob("checkpoint-*"))) == 2


def test_an_error_of_ours_is_no_disk_error(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"), disk_errors(tmp_path, "checkpoint-1"):
        raise RuntimeError("shapes cannot be multiplied")


class NoRoomAfter(TrainerCallback):
    """No file may grow beyond 30 kB once a checkpoint is there: what a full disk does, without one."""

    def on_save(self, args, state, control, **kwargs):
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, ema_decay):
    manifest = tiny.write_corpus(tmp_path / "speech", "u", 12)
    options = {"save_strategy": "steps", "save_steps": 1, "sizes": {"hidden_size": 48}, "ema_decay": ema_decay}
    trainer = new_trainer(tmp_path / "run", manifest, save_total_limit=1, **options)
    trainer.add_callback(NoRoomAfter())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(ValueError, match=r"checkpoint-2 could not be written.*The same command then") as full:
            trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "resumes from checkpoint-1, which is complete" in str(full.value) and "MB were free" in str(full.value)
    assert last_whole_checkpoint(tmp_path / "run") == tmp_path / "run" / "checkpoint-1"
    assert not list((tmp_path / "run" / "unfinished").iterdir())
    resumed = new_trainer(tmp_path / "run", manifest, save_total_limit=1, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-1"))
    assert resumed.state.global_step == 6


class Planted:
    def __reduce__(self):
        return open, (self.path, "w")

    def __init__(self, path):
        self.path = path


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "data_position_0_of_1.pt"])
def test_a_planted_state_is_refused_and_not_executed(tmp_path, name):
    manifest = tiny.write_corpus(tmp_path / "speech", "u", 12)
    options = {"save_strategy": "steps", "save_steps": 1, "max_steps": 2}
    new_trainer(tmp_path / "run", manifest, **options).train()
    checkpoint = tmp_path / "run" / "checkpoint-1"
    torch.save({"state": Planted(str(tmp_path / "was_run"))}, checkpoint / name)
    refused = pytest.raises(ValueError, match=r"Nothing in it was executed.*Remove that folder")
    with refused, refused_pickles(checkpoint):
        new_trainer(tmp_path / "run", manifest, **options).train(resume_from_checkpoint=str(checkpoint))
    assert not (tmp_path / "was_run").exists()


def test_a_rotation_keeps_the_whole_one_and_not_a_damaged_newer_one(tmp_path, caplog):
    """20 is damaged, 10 is gone on from, 15 comes: one is kept. A copy with another name is nobody's business."""
    write(tmp_path, 10, a="123")
    damaged = write(tmp_path, 20, a="123") / "sub" / "a"
    damaged.write_text("1")
    (tmp_path / "checkpoint-best").mkdir()
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    remove_unfinished(tmp_path)
    assert "removed checkpoint-20: incomplete" in caplog.text
    write(tmp_path, 15, a="123")
    keep_newest(tmp_path, 1, None)
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-15", "checkpoint-best"]
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-15"
