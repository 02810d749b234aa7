"""CTCTrainer on a tiny model: the arithmetic of steps, averages, epochs and resumes."""

import json
import math
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

import tiny
from deepspeech2.evaluation import scoring
from deepspeech2.training import trainer as trainer_module
from deepspeech2.training.callbacks import ramped_average
from deepspeech2.training.plan import resolve_epochs, try_optimizer
from trainers import ONE_STEP, StopAfterSave, Stopped, logged, new_trainer, part, run_on_two_ranks, weights
from waits import Waits


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("speech"), "u", 12)


@pytest.fixture(scope="module")
def batch(manifest, tmp_path_factory):
    """Eight clips that are four copies of the same two: batch statistics of any two or eight are the same."""
    model, processor = tiny.new_model()
    (two,) = tiny.batches(manifest, model, processor, 1, 2, tmp_path_factory.mktemp("batch"))
    return {
        name: value.repeat(4, *[1] * (value.dim() - 1)) if isinstance(value, torch.Tensor) else value * 4
        for name, value in two.items()
    }


def fake_scores(monkeypatch, wers: list[float]) -> None:
    """Evaluations find these word error rates, one after the other."""
    found = iter(wers)

    def score(utterances):
        return SimpleNamespace(wer=next(found), cer=0.0, num_utterances=len(utterances), utterances=utterances)

    monkeypatch.setattr(scoring, "score", score)


# The size of a step ------------------------------------------------------------------------------------------------


def test_eight_at_once_are_four_times_two(tmp_path, batch):
    """Loss and gradient are means over the eight, however they are cut: 8, or 4 x 2 accumulated."""
    found = []
    for batches, accumulation in ([[batch], 1], [[part(batch, i, i + 2) for i in (0, 2, 4, 6)], 4]):
        trainer = new_trainer(tmp_path, batches, gradient_accumulation_steps=accumulation, **ONE_STEP)
        before = weights(trainer.model)
        trainer.train()
        moves = {name: weight - before[name] for name, weight in weights(trainer.model).items()}
        found.append((logged(trainer, "loss"), moves))
    (loss, moves), (accumulated_loss, accumulated_moves) = found
    assert len(loss) == 1 and accumulated_loss == pytest.approx(loss, rel=1e-5)
    assert max(move.abs().max() for move in moves.values()) > 1
    for name, move in moves.items():
        torch.testing.assert_close(accumulated_moves[name], move, rtol=1e-3, atol=1e-4)  # a gradient is about 10


@pytest.mark.parametrize("optim", ["adamw_torch", "sgd"])
def test_a_step_moves_all_that_is_trainable_and_nothing_else(tmp_path, batch, optim):
    """Frozen: the first convolution with its batch norm; weight decay must not move it either."""
    trainer = new_trainer(tmp_path, [batch], max_steps=1, optim=optim, weight_decay=0.1)
    trainer.model.model.convs[0].requires_grad_(False)
    before = weights(trainer.model)
    frozen, learning = (trainer.model.model.convs[index].batch_norm for index in (0, 1))
    trainer.train()
    assert not frozen.running_mean.any() and learning.running_mean.any()  # both began at zero
    moved = {name for name, weight in weights(trainer.model).items() if not weight.equal(before[name])}
    assert moved == {name for name in before if not name.startswith("model.convs.0.")}
    assert len(before) - len(moved) == 4  # weight and bias of the convolution and of its norm


def test_no_bias_and_no_norm_decays(tmp_path, batch):
    """Not in the names of Trainer: `model.norms`."""
    trainer = new_trainer(tmp_path, [batch], sizes={"adapter_size": 2}, weight_decay=0.1)
    decaying, steady = trainer.create_optimizer().param_groups
    assert (decaying["weight_decay"], steady["weight_decay"]) == (0.1, 0.0)
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    norms = [name for name in names.values() if ".batch_norm." in name or ".norms." in name]
    assert len(norms) == 2 * (2 + 2)  # of two convolutions and two layers
    expected = {name for name in names.values() if name in norms or "bias" in name}
    assert {names[parameter] for parameter in steady["params"]} == expected
    assert {names[parameter] for parameter in decaying["params"]} == set(names.values()) - expected


def test_a_step_waits_for_a_gpu_four_times(tmp_path, batch):
    """For the lengths, twice in transformers' CTC loss, and for the gradient norm, which says whether to step."""
    found = []
    for steps in (2, 3):
        trainer = new_trainer(tmp_path, [batch], max_steps=steps, logging_steps=5)
        with Waits() as waits:
            trainer.train()
        found.append(waits.found)
    two, three = map(Counter, found)
    assert three - two == Counter({"cpu": 1, "masked_select": 1, "ctc_loss": 1, "__float__": 1})


def test_averaging_of_weights_waits_for_no_number():
    averages, currents = [torch.tensor([2.0])], [torch.tensor([4.0])]
    with Waits() as waits:
        ramped_average(0.9)(averages, currents, torch.tensor(8))
    assert not waits.found
    torch.testing.assert_close(averages, [torch.tensor([3.0])])  # half of each: (1 + 8) / (10 + 8)


def test_a_loss_that_is_not_finite_counts_as_the_mean_of_the_others(tmp_path, batch):
    """Of three losses in one line of the log, the second is replaced by half the first: a mean over two."""
    trainer = new_trainer(tmp_path, [batch], max_steps=3, logging_steps=3, learning_rate=0.0)
    losses = iter([4.0, math.nan, 6.0])
    compute_loss = trainer.compute_loss
    trainer.compute_loss = lambda *args, **kwargs: compute_loss(*args, **kwargs) * 0 + next(losses)
    trainer.train()
    assert logged(trainer, "loss") == [pytest.approx((4 + 4 / 2 + 6) / 3)]


# Several processes -------------------------------------------------------------------------------------------------

RANK_SCRIPT = """
import json, sys
from pathlib import Path
import torch
from trainers import ONE_STEP, logged, new_trainer, part
folder = Path(sys.argv[1])
rank = int(__import__("os").environ["RANK"])
batch = torch.load(folder / "batch.pt")
trainer = new_trainer(folder, [part(batch, 4 * rank, 4 * rank + 4)], **ONE_STEP)
trainer.train()
if rank == 0:
    torch.save((logged(trainer, "loss"), dict(trainer.model.named_parameters())), folder / "step.pt")

trainer = new_trainer(folder, Path(sys.argv[2]), per_device_train_batch_size=5)  # windows of 8 + 4: 3 batches
for buffer in trainer.model.buffers():
    buffer += rank  # statistics drift apart in training
found = [trainer.evaluate()]
trainer.is_fsdp_enabled = True  # in step: the rank with a batch less repeats its last one
found.append(trainer.evaluate())
if rank == 0:
    (folder / "evaluations.json").write_text(json.dumps([trainer.args.world_size, found]))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_are_one(tmp_path, manifest, batch):
    """Four of the eight on each process: the loss and the step of eight; and every clip is scored once."""
    torch.save(batch, tmp_path / "batch.pt")
    run_on_two_ranks(RANK_SCRIPT, tmp_path, str(manifest))

    trainer = new_trainer(tmp_path, [batch], **ONE_STEP)
    before = weights(trainer.model)
    trainer.train()
    loss, after = torch.load(tmp_path / "step.pt", weights_only=False)
    assert loss == pytest.approx(logged(trainer, "loss"), rel=1e-5)
    for name, weight in weights(trainer.model).items():
        torch.testing.assert_close(after[name] - before[name], weight - before[name], rtol=1e-3, atol=1e-4)

    world_size, found = json.loads((tmp_path / "evaluations.json").read_text())
    alone = new_trainer(tmp_path, manifest, per_device_train_batch_size=5).evaluate()
    assert world_size == 2 and len(found) == 2
    for name in ("eval_loss", "eval_wer", "eval_cer"):
        assert [metrics[name] for metrics in found] == pytest.approx([alone[name]] * 2, rel=1e-5)


# Stopping and resuming ---------------------------------------------------------------------------------------------


def check_resume_is_exact(manifest, folder, **options):
    options = {
        "sizes": {"dropout": 0.2},
        "save_strategy": "steps",
        "save_steps": 3,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "load_best_model_at_end": False,
        "steps_per_epoch": 4.0,
        **options,
    }
    whole = new_trainer(folder / "whole", manifest, **options)
    whole.train()

    stopped = new_trainer(folder / "parts", manifest, **options)
    stopped.add_callback(StopAfterSave(3))
    with pytest.raises(Stopped):
        stopped.train()
    torch.manual_seed(99)  # another process stands elsewhere
    resumed = new_trainer(folder / "parts", manifest, **options)
    resumed.train(resume_from_checkpoint=str(folder / "parts" / "checkpoint-3"))

    state = whole.model.state_dict()
    assert state.keys() == resumed.model.state_dict().keys()
    for name, tensor in resumed.model.state_dict().items():
        assert tensor.equal(state[name]), name
    for name in ("loss", "learning_rate", "grad_norm", "epoch", "eval_wer", "eval_loss"):
        assert logged(resumed, name) == logged(whole, name), name
    # Another order or another mask would show in the last loss.
    assert len(set(logged(whole, "loss"))) == 6
    return stopped, resumed


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, manifest, ema_decay):
    check_resume_is_exact(manifest, tmp_path, ema_decay=ema_decay)


@pytest.mark.slow
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_resumed_run_with_workers_is_the_uninterrupted_one(tmp_path, manifest, ema_decay):
    check_resume_is_exact(manifest, tmp_path, ema_decay=ema_decay, dataloader_num_workers=2)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("best", [True, False])
def test_a_run_stopped_after_its_last_step_takes_no_other(tmp_path, manifest, monkeypatch, best, ema_decay):
    """The first of three evaluations is the best one."""
    options = {"max_steps": 3, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    options |= {"load_best_model_at_end": best, "ema_decay": ema_decay}
    for name in ("whole", "parts"):
        fake_scores(monkeypatch, [0.1, 0.2, 0.2])
        trainer = new_trainer(tmp_path / name, manifest, **options)
        if name == "whole":
            trainer.train()
            expected = trainer.model.state_dict()
            continue
        trainer.add_callback(StopAfterSave(3))
        with pytest.raises(Stopped):
            trainer.train()
    resumed = new_trainer(tmp_path / "parts", manifest, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-3"))
    assert resumed.state.global_step == 3 and len(logged(resumed, "loss")) == 3
    assert all(tensor.equal(expected[name]) for name, tensor in resumed.model.state_dict().items())


def test_the_log_goes_on_where_it_was(tmp_path, manifest):
    """Time adds up over the sittings, and does not count what lies between them."""
    stopped, resumed = check_resume_is_exact(manifest, tmp_path)
    elapsed_s = logged(resumed, "elapsed_s")
    assert elapsed_s == sorted(elapsed_s) and elapsed_s[0] > 0
    last_of_stopped = logged(stopped, "elapsed_s")[-1]
    assert last_of_stopped in elapsed_s
    assert elapsed_s[elapsed_s.index(last_of_stopped) + 1] > last_of_stopped
    by_step = {line["step"]: line["epoch"] for line in resumed.state.log_history}
    assert by_step == {1: 0.25, 2: 0.5, 3: 0.75, 4: 1.0, 5: 1.25, 6: 1.5}  # 4 steps an epoch
    assert all(rate > 0 for rate in logged(resumed, "audio_s_per_s"))


def test_audio_seconds_per_second_count_all_audio(tmp_path, batch, monkeypatch):
    """2 x 8 clips between two lines of the log, in 2 s by the clock, and again in 6 s."""
    now = [0.0]
    monkeypatch.setattr(trainer_module.time, "perf_counter", lambda: now[0])
    trainer = new_trainer(tmp_path, [batch], max_steps=4, logging_steps=2)

    class Tick(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            now[0] += 1.0 if state.global_step <= 2 else 3.0

    trainer.add_callback(Tick())
    trainer.train()
    audio_s = 2 * sum(batch["durations_s"])
    assert logged(trainer, "audio_s_per_s") == pytest.approx([audio_s / 2, audio_s / 6])
    assert logged(trainer, "elapsed_s") == [2.0, 8.0, 8.0]  # those of the steps, and that of the end


# The best, the average ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_the_lowest_wer_is_kept(tmp_path, manifest, monkeypatch, ema_decay):
    fake_scores(monkeypatch, [0.5, 0.2, 0.4])
    every_step = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    trainer = new_trainer(
        tmp_path,
        manifest,
        max_steps=3,
        save_total_limit=2,
        load_best_model_at_end=True,
        ema_decay=ema_decay,
        **every_step,
    )
    trainer.train()
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
    assert trainer.state.best_metric == 0.2
    assert {folder.name for folder in tmp_path.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-3"}
    best, last = (load_file(tmp_path / f"checkpoint-{step}" / "model.safetensors") for step in (2, 3))
    for name, tensor in trainer.model.state_dict().items():
        assert tensor.equal(best[name]), name
    assert not all(tensor.equal(last[name]) for name, tensor in best.items())


@pytest.mark.parametrize("stopped_after", [None, 3])
def test_early_stopping(tmp_path, manifest, monkeypatch, stopped_after):
    """Two evaluations, 3 and 4, without a WER below the 0.3 of the second; a resumed run has counted the third."""
    fake_scores(monkeypatch, [0.5, 0.3, 0.4, 0.3, 0.1])
    options = {
        "max_steps": 10,
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "load_best_model_at_end": True,
        "early_stopping_patience": 2,
    }
    if stopped_after:
        stopped = new_trainer(tmp_path, manifest, **options)
        stopped.add_callback(StopAfterSave(stopped_after))
        with pytest.raises(Stopped):
            stopped.train()
    trainer = new_trainer(tmp_path, manifest, **options)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3") if stopped_after else None)
    assert trainer.state.global_step == 4
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")


def test_the_average_is_what_is_saved_and_returned(tmp_path, batch):
    """
    a1 = w1, and then a += (1 - d) (w - a) with d = min(0.22, (1 + n) / (10 + n)) after n updates:
    2/11 = 0.18 after one, 0.22 (not 3/12 and 4/13) after two and three. Batch-norm statistics likewise.
    """
    every_step = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": None}
    trainer = new_trainer(tmp_path, [batch], max_steps=4, ema_decay=0.22, **every_step)
    trainer.train()
    average: dict[str, torch.Tensor] = {}
    for step, decay in enumerate([0.0, 2 / 11, 0.22, 0.22], start=1):
        folder = tmp_path / f"checkpoint-{step}"
        own, saved = load_file(folder / "training_weights.safetensors"), load_file(folder / "model.safetensors")
        for name, tensor in own.items():
            if tensor.is_floating_point():
                average[name] = decay * average[name] + (1 - decay) * tensor if step > 1 else tensor
                torch.testing.assert_close(saved[name], average[name], rtol=1e-4, atol=1e-6)
            else:
                assert saved[name] == tensor == step  # batches counted
    assert not all(saved[name].equal(own[name]) for name in own)
    for name, tensor in trainer.model.state_dict().items():
        assert tensor.equal(saved[name]), name


def test_the_average_is_what_is_scored(tmp_path, manifest):
    """The loss of an evaluation is that of the saved weights, and training goes on with its own."""
    every_step = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    trainer = new_trainer(tmp_path, manifest, max_steps=2, ema_decay=0.9, learning_rate=0.05, **every_step)
    trainer.train()
    in_training = logged(trainer, "eval_loss")
    own = load_file(tmp_path / "checkpoint-2" / "training_weights.safetensors")
    assert [trainer.evaluate()["eval_loss"]] == pytest.approx(in_training, rel=1e-6)
    trainer.model.load_state_dict(own)
    assert trainer.evaluate()["eval_loss"] != pytest.approx(in_training[0], rel=1e-5)


def test_averaging_is_refused_where_weights_are_sharded(tmp_path, batch):
    trainer = new_trainer(tmp_path, [batch], ema_decay=0.9)
    trainer.is_fsdp_enabled = True
    with pytest.raises(ValueError, match="FSDP and DeepSpeed shard the weights, so ema_decay does not work"):
        trainer.train()


def test_evaluation_leaves_the_mode_and_the_weights(tmp_path, manifest):
    trainer = new_trainer(tmp_path, manifest)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    for mode in (True, False):
        trainer.model.train(mode)
        metrics = trainer.evaluate()
        assert trainer.model.training is mode
        assert math.isfinite(metrics["eval_loss"]) and metrics["eval_wer"] > 0 and metrics["eval_cer"] > 0
    assert all(tensor.equal(before[name]) for name, tensor in trainer.model.state_dict().items())


# Epochs ------------------------------------------------------------------------------------------------------------


def epoch_arguments(**given) -> SimpleNamespace:
    defaults = {"max_steps": -1, "num_train_epochs": 3, "eval_strategy": "epoch", "save_strategy": "epoch"}
    defaults |= {"gradient_accumulation_steps": 1, "world_size": 1, "eval_steps": None, "save_steps": 500}
    defaults |= {"learning_anneal": 0.0}
    return SimpleNamespace(**(defaults | given))


@pytest.mark.parametrize(
    "given, batches, max_steps, every",
    [
        ({}, 100.4, 300, 100),  # 3 x 100
        ({"gradient_accumulation_steps": 4, "world_size": 2}, 100, 36, 12),  # 100 / 8 = 12.5, to even
        ({"num_train_epochs": 0.5}, 100, 50, 50),  # an evaluation at the end, not beyond it
        ({"max_steps": 30}, 100, 30, 30),
        ({"max_steps": 250}, 100, 250, 100),
        ({}, 0.2, 3, 1),  # a step at least
    ],
)
def test_epochs_become_steps(given, batches, max_steps, every):
    args = epoch_arguments(**given)
    resolve_epochs(args, batches)
    assert (args.max_steps, args.eval_steps, args.save_steps) == (max_steps, every, every)
    assert (args.eval_strategy, args.save_strategy) == ("steps", "steps")


def test_steps_stay_as_they_are():
    args = epoch_arguments(max_steps=30, eval_strategy="steps", save_strategy="no", eval_steps=7)
    resolve_epochs(args, None)
    assert (args.max_steps, args.eval_steps, args.save_steps, args.save_strategy) == (30, 7, 500, "no")


@pytest.mark.parametrize("given", [{"eval_strategy": "no", "save_strategy": "no"}, {"max_steps": 9}])
def test_epochs_of_unknown_length_are_refused(given):
    with pytest.raises(ValueError, match="Set max_steps"):
        resolve_epochs(epoch_arguments(**given), None)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "lr_scheduler_type cosine_with_min_lr cannot be used .*min_lr"),
        ({"lr_scheduler_kwargs": {"nonsense": 1}}, "lr_scheduler_type .*cannot be used .*nonsense"),
        ({"optim": "adamw_bnb_8bit"}, "optim adamw_bnb_8bit cannot be used .*bitsandbytes"),
        ({"adam_epsilon": -1.0}, "optim adamw_torch.* cannot be used .*epsilon"),
    ],
)
def test_an_optimizer_that_cannot_be_made_is_known_before_the_training(tmp_path, options, fault, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match=fault):
        try_optimizer(tiny.training_arguments(tmp_path, **options))


def test_a_warmup_longer_than_the_training_is_said(tmp_path, caplog):
    try_optimizer(tiny.training_arguments(tmp_path, max_steps=6, warmup_steps=5))
    assert not caplog.text
    try_optimizer(tiny.training_arguments(tmp_path, max_steps=6, warmup_steps=6, learning_rate=0.02))
    assert "warmup_steps is 6 of 6 steps, so the learning rate never reaches 0.02" in caplog.text


def test_the_learning_rate_is_divided_after_each_epoch(tmp_path, batch):
    """0.1 by 2 after each epoch of 2.5 steps: the steps 0-2, 3-4 and 5-6 belong to the epochs 0, 1 and 2."""
    trainer = new_trainer(
        tmp_path, [batch], max_steps=7, learning_anneal=2.0, learning_rate=0.1, steps_per_epoch=2.5, optim="sgd"
    )
    trainer.train()
    assert logged(trainer, "learning_rate") == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025])


def test_annealing_needs_an_epoch():
    with pytest.raises(ValueError, match="lr_scheduler_type instead of learning_anneal"):
        resolve_epochs(epoch_arguments(max_steps=30, eval_strategy="no", save_strategy="no", learning_anneal=1.1), None)


def test_the_progress_bar_tells_loss_wer_and_speed(tmp_path, manifest, capsys):
    trainer = new_trainer(tmp_path, manifest, max_steps=2, disable_tqdm=False, eval_strategy="steps", eval_steps=2)
    trainer.train()
    shown = capsys.readouterr()
    (wer,) = logged(trainer, "eval_wer")
    assert f"step 2: eval WER {wer:.1%}" in shown.out + shown.err
    assert "audio_s_per_s=" in shown.err and "loss=" in shown.err


def test_the_state_on_disk_is_json(tmp_path, batch):
    trainer = new_trainer(tmp_path, [batch], max_steps=1)
    trainer.train()
    trainer.save_state()
    state = json.loads((tmp_path / "trainer_state.json").read_text())
    assert state["global_step"] == 1 and {"loss", "elapsed_s"} <= state["log_history"][0].keys()
