"""Steps without a finite gradient, and models that write nothing."""

import json
import logging
from types import SimpleNamespace

import pytest
import torch

import tiny
from deepspeech2.training.callbacks import BlankWatch, SkippedSteps, skipped_steps
from trainers import new_trainer


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    """Two good ones."""
    folder = tmp_path_factory.mktemp("speech")
    model, processor = tiny.new_model()
    return tiny.batches(tiny.write_corpus(folder, "u", 12), model, processor, 2, 3, folder)


def spoiled(batch: dict) -> dict:
    return batch | {"input_features": batch["input_features"] * float("inf"), "ids": ["bad0", "bad1", "bad2"]}


def state(trainer) -> dict:
    """Weights, running statistics, and what the optimizer has gathered."""
    gathered = [value for one in trainer.optimizer.state_dict()["state"].values() for value in one.values()]
    tensors = [*trainer.model.state_dict().values(), *(value for value in gathered if isinstance(value, torch.Tensor))]
    return [tensor.clone() for tensor in tensors]


@pytest.mark.parametrize("options", [{}, {"max_grad_norm": 0, "optim": "sgd", "optim_args": "momentum=0.9"}])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_step_without_a_finite_gradient_is_left_out(tmp_path, batches, options, accumulation, caplog):
    """The second step of three: the state after it is that after the first; the third moves again."""
    good, other = batches
    fed = {1: [good, spoiled(other), good], 2: [good, other, good, spoiled(other), good, other]}[accumulation]
    options = options | {"gradient_accumulation_steps": accumulation, "lr_scheduler_type": "constant"}
    found = []
    for steps in (1, 2, 3):
        trainer = new_trainer(tmp_path / str(steps), fed, max_steps=steps, **options)
        trainer.train()
        found.append(state(trainer))
    assert all(torch.equal(one, two) for one, two in zip(found[0], found[1], strict=True))
    assert not any(tensor.isnan().any() for tensor in found[2])
    moved = [not torch.equal(one, two) for one, two in zip(found[1], found[2], strict=True)]
    assert sum(moved) > 0.9 * len(moved)
    (line,) = (tmp_path / "3" / "skipped_steps.jsonl").read_text().splitlines()
    assert skipped_steps(tmp_path / "3") == 1 and skipped_steps(tmp_path) == 0
    ids = ["bad0", "bad1", "bad2"] if accumulation == 1 else [*good["ids"], "bad0", "bad1", "bad2"]
    assert json.loads(line) == {"step": 2, "ids": ids}
    assert "step 2 skipped: non-finite gradient from the utterances" in caplog.text


def test_too_many_in_a_row_end_the_training(tmp_path, batches):
    """1 good, 3 bad: with 2 allowed the fourth step is the end, with what to try."""
    trainer = new_trainer(tmp_path, [batches[0], *[spoiled(batches[1])] * 9], max_steps=9, max_skipped_steps=2)
    with pytest.raises(
        ValueError, match=r"3 steps in a row, up to step 4, had a non-finite gradient.*max_skipped_steps 2.*Try"
    ):
        trainer.train()
    assert trainer.state.global_step == 3


def test_in_a_row_means_without_a_step_between(tmp_path):
    skipped = SkippedSteps(tmp_path, 3, writes=True)
    assert skipped.in_a_row() == 0
    for step, expected in ((2, 1), (4, 1), (5, 2), (6, 3), (9, 1)):
        skipped.add(step, ["a"])
        assert skipped.in_a_row() == expected


def test_a_resumed_run_forgets_what_comes_again(tmp_path):
    path = tmp_path / "skipped_steps.jsonl"
    first = SkippedSteps(tmp_path, 9, writes=True)
    for step in (3, 4, 5):
        first.add(step, ["ä"])
    with path.open("a") as file:
        file.write('{"step": 6, "i')  # killed while it wrote
    reader = SkippedSteps(tmp_path, 9, writes=False)
    reader.begin(4)
    assert reader.steps == [3, 4] and len(path.read_text().splitlines()) == 4
    resumed = SkippedSteps(tmp_path, 9, writes=True)
    resumed.begin(4)
    resumed.add(5, ["ä"])
    assert resumed.in_a_row() == 3 and [json.loads(line)["step"] for line in path.read_text().splitlines()] == [3, 4, 5]
    SkippedSteps(tmp_path, 9, writes=True).begin(0)
    assert path.read_text() == ""


@pytest.mark.parametrize(
    ("evaluations", "level", "words"),
    [
        ([(30, 1.0)], "INFO", "predicts only blanks so far, which is normal"),
        ([(31, 1.0)], "WARNING", "step 31 of 100: the model still predicts only blanks, which is late"),
        (
            [(10, 0.9), (20, 1.0)],
            "WARNING",
            "predicted letters before and now predicts only blanks: the training has diverged",
        ),
        ([(90, 0.99)], None, None),
    ],
)
def test_blanks_are_usual_early_and_bad_late(evaluations, level, words, caplog):
    caplog.set_level("INFO")
    watch = BlankWatch()
    for step, share in evaluations:
        at = SimpleNamespace(global_step=step, max_steps=100, is_world_process_zero=True)
        watch.on_evaluate(None, at, None, metrics={"eval_empty": share})
    said = [(record.levelname, words in record.message) for record in caplog.records]
    assert said == ([(level, True)] if level else [])


def test_the_share_of_empty_hypotheses_is_measured(tmp_path):
    manifest = tiny.write_corpus(tmp_path / "speech", "u", 4)
    trainer = new_trainer(tmp_path, manifest)
    assert 0 <= trainer.evaluate()["eval_empty"] <= 1
    torch.nn.init.zeros_(trainer.model.ctc_head.weight)  # all equal: the first, the blank
    assert trainer.evaluate()["eval_empty"] == 1


@pytest.mark.parametrize(("scale", "recorded"), [(65536.0, 0), (1.0, 1)])
def test_an_overflow_at_a_large_loss_scale_is_not_the_recordings_fault(tmp_path, batches, scale, recorded, caplog):
    """fp16 training begins with a scale that is too large, and lowers it. Only at 1 is the gradient itself at fault."""
    caplog.set_level(logging.INFO)
    trainer = new_trainer(tmp_path, [batches[0], spoiled(batches[1])], max_steps=2, max_skipped_steps=0)
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    if recorded:
        with pytest.raises(ValueError, match="1 steps in a row, up to step 2"):
            trainer.train()
    else:
        trainer.train()
        assert "step 2 skipped: the fp16 gradients overflow at the loss scale 65536" in caplog.text
    assert skipped_steps(tmp_path) == recorded
