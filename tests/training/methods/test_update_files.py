"""Low-rank updates and adapters: what they start as, what learns, and the small file of what has changed."""

import copy

import pytest
import torch
from test_adaptation import SGD, adapted, moved, trained
from torch.nn.functional import cross_entropy

import tiny
from deepspeech2.config.method_arguments import AdaptationArguments
from deepspeech2.model.loading import load_model
from deepspeech2.training.methods.adaptation import Adaptation, parameter_groups
from deepspeech2.training.methods.alphabet import change_alphabet
from deepspeech2.training.methods.low_rank import LowRankUpdates
from deepspeech2.training.methods.update_files import apply_updates
from deepspeech2.training.trainer import CTCTrainer
from trainers import Repeated, StopAfterSave, Stopped, run_on_two_ranks


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    model, processor = tiny.new_model()
    return tiny.batches(tiny.write_corpus(folder, "u", 12), model, processor, 3, 4, folder)


def test_low_rank_updates_start_from_nothing_and_follow_the_chain_rule():
    """A product with W = W0 + 2 up @ down, in which autograd sees the factors, has the same gradients and steps."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 4, bias=False)
    start, x, y = layer.weight.detach().clone(), torch.randn(7, 5), torch.randint(4, (7,))
    updates = LowRankUpdates(layer, ["weight"], rank=2, scale=4.0)
    up, down = (one.detach().clone().requires_grad_() for one in updates.factors("weight"))
    assert layer.weight.equal(start) and not up.any() and down.any()
    ours = torch.optim.SGD([*updates.factors("weight"), layer.weight], lr=0.5)
    theirs = torch.optim.SGD([up, down], lr=0.5)
    for _ in range(4):
        ours.zero_grad(), theirs.zero_grad()
        cross_entropy(layer(x), y).backward()
        updates.on_pre_optimizer_step(None, None, None)
        ours.step()
        updates.on_optimizer_step(None, None, None)
        cross_entropy(x @ (start + 2.0 * up @ down).T, y).backward()
        theirs.step()
    torch.testing.assert_close(updates.up["weight"], up)
    torch.testing.assert_close(layer.weight, start + 2.0 * up @ down)
    assert torch.linalg.matrix_rank(layer.weight.detach() - start) == 2


def test_low_rank_updates_in_training(tmp_path, batches):
    """Matrices of the recurrent layers and the head move by rank 3; norms, if asked for, as a whole; no other thing."""
    trainer, before = trained(tmp_path, batches, low_rank=3, trained_groups=["norms"])
    matrices = {name for name in before if "rnn.weight" in name or name == "ctc_head.weight"}
    assert moved(trainer, before) == matrices | set(parameter_groups(trainer.model)["norms"])
    for name in matrices:
        change = (trainer.model.state_dict()[name] - before[name]).double()
        singular = torch.linalg.svdvals(change)
        assert singular[2] > 0 and singular[3:].sum() < 1e-5 * singular.sum()
    factors = sum(3 * sum(before[name].shape) for name in matrices)
    norms = sum(before[name].numel() for name in parameter_groups(trainer.model)["norms"])
    assert trainer.adaptation.num_trained == factors + norms


@pytest.mark.parametrize(
    "given",
    [
        {"low_rank": 2},
        {"low_rank": 2, "trained_groups": ["norms"]},
        {"low_rank": 2, "adapter_size": 3},
        {"adapter_size": 3, "trained_groups": ["head"]},
        {"trained_groups": ["norms"], "norm_statistics": "frozen"},
    ],
)
def test_saved_updates_are_put_onto_their_start(tmp_path, batches, given):
    """All tensors are those of the trained model, the statistics too; so are the logits; the start stays as it is."""
    trainer, before = trained(tmp_path, batches, **given)
    trainer.adaptation.save_result(tmp_path, None)
    start, _ = adapted()
    untouched = copy.deepcopy(start.state_dict())
    updated = apply_updates(start, tmp_path)
    expected = trainer.model.state_dict()
    assert any(not one.equal(before[name]) for name, one in expected.items())
    assert updated.state_dict().keys() == expected.keys()
    for name, one in updated.state_dict().items():
        torch.testing.assert_close(one, expected[name])
    assert all(one.equal(untouched[name]) for name, one in start.state_dict().items())
    inputs = {name: batches[0][name] for name in ("input_features", "attention_mask")}
    with torch.no_grad():
        logits = [model.eval()(**inputs).logits for model in (updated, trainer.model)]
    torch.testing.assert_close(*logits, rtol=0, atol=1e-5)
    assert (tmp_path / "updates.safetensors").stat().st_size < 4 * sum(one.numel() for one in expected.values())


@pytest.mark.parametrize("given", [{"low_rank": 2}, {"trained_groups": ["norms"]}, {"trained_groups": ["head"]}])
def test_updates_under_another_alphabet_hold_the_head(tmp_path, batches, given):
    """Put onto the checkpoint, whose head has 5 rows, they give the trained model with its 6."""
    model, processor = tiny.new_model()
    start = copy.deepcopy(model)
    processor = change_alphabet(model, processor, "abcx")
    adaptation = Adaptation(AdaptationArguments(new_characters="abcx", **given), model, max_steps=3)
    args = tiny.training_arguments(tmp_path, max_steps=3, **SGD)
    trainer = CTCTrainer(model, args, processor, Repeated(batches), None, adaptation=adaptation)
    if adaptation.low_rank:
        trainer.add_callback(adaptation.low_rank)
    trainer.train()
    adaptation.save_result(tmp_path, None)
    updated = apply_updates(start, tmp_path)
    assert updated.config.vocab_size == 6 and start.config.vocab_size == 5
    for name, one in updated.state_dict().items():
        torch.testing.assert_close(one, model.state_dict()[name])


def test_a_run_stopped_after_its_last_step_has_its_updates_all_the_same(tmp_path, batches):
    options = {"save_strategy": "steps", "save_steps": 3}
    trainer, before = trained(tmp_path, batches, options=options, low_rank=2)
    model, adaptation = adapted(low_rank=2)
    args = tiny.training_arguments(tmp_path, max_steps=3, **(SGD | options))
    again = CTCTrainer(model, args, tiny.new_model()[1], Repeated(batches), None, adaptation=adaptation)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    adaptation.save_result(tmp_path, None)
    updated = apply_updates(adapted()[0], tmp_path).state_dict()
    expected = trainer.model.state_dict()
    assert not expected["ctc_head.weight"].equal(before["ctc_head.weight"])
    torch.testing.assert_close(updated["ctc_head.weight"], expected["ctc_head.weight"])


def test_updates_of_another_model_are_refused(tmp_path, batches):
    trainer, _ = trained(tmp_path, batches, low_rank=2)
    trainer.adaptation.save_result(tmp_path, None)
    with pytest.raises(
        ValueError, match=r"belong to another model .* apply them to the model from which their training started"
    ):
        apply_updates(tiny.new_model(hidden_size=8)[0], tmp_path)
    with pytest.raises(ValueError, match="expected the folder of a run with trained_groups, adapter_size or low_rank"):
        apply_updates(trainer.model, tmp_path / "none")


def test_all_that_learns_is_no_small_file(tmp_path, batches):
    trainer, _ = trained(tmp_path, batches, l2_sp=0.1)
    trainer.adaptation.save_result(tmp_path, None)
    assert not (tmp_path / "updates.safetensors").exists()


@pytest.mark.parametrize(
    ("ema_decay", "given"),
    [
        (0.0, {"low_rank": 2, "layer_lr_decay": 0.5}),
        (0.9, {"unfreeze_every": 1, "l2_sp": 0.1}),
        (0.9, {"adapter_size": 3, "low_rank": 2, "trained_groups": ["norms"], "unfreeze_every": 2}),
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, batches, given, ema_decay):
    options = {"save_strategy": "steps", "save_steps": 3, "optim": "adamw_torch", "learning_rate": 0.01}
    options |= {"ema_decay": ema_decay}

    def start(folder):
        model, adaptation = adapted(**given)
        args = tiny.training_arguments(folder, max_steps=6, **(SGD | options))
        manifest = tiny.write_corpus(folder, "u", 12) if not (folder / "u.csv").exists() else folder / "u.csv"
        processor = tiny.new_model()[1]
        stream, _ = tiny.streams(manifest, model, processor, args)
        trainer = CTCTrainer(model, args, processor, stream, None, adaptation=adaptation)
        if adaptation.low_rank:
            trainer.add_callback(adaptation.low_rank)
        return trainer

    whole = start(tmp_path / "whole")
    whole.train()
    stopped = start(tmp_path / "parts")
    stopped.add_callback(StopAfterSave(3))
    with pytest.raises(Stopped):
        stopped.train()
    resumed = start(tmp_path / "parts")
    resumed.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-3"))
    expected = whole.model.state_dict()
    assert all(one.equal(expected[name]) for name, one in resumed.model.state_dict().items())


RANK_SCRIPT = """
import os, sys
from pathlib import Path
import torch
from test_update_files import four_steps
rank = int(os.environ["RANK"])
torch.save(four_steps(Path(sys.argv[1]), [rank]), Path(sys.argv[1], f"steps-{rank}.pt"))
torch.distributed.destroy_process_group()
"""


def four_steps(folder, places: list[int]) -> list[dict]:
    """The weights after each of four steps on the same batches of `batches.pt`, accumulated; one more part in each."""
    given = {"low_rank": 2, "adapter_size": 3, "trained_groups": ["norms"], "l2_sp": 0.1, "layer_lr_decay": 0.5}
    options = {"gradient_accumulation_steps": len(places), "use_cpu": True}
    some, found = torch.load(folder / "batches.pt"), []
    for steps in (1, 2, 3, 4):
        trainer, _ = trained(
            folder, [some[place] for place in places], steps, options, **given, unfreeze_every=1,
            norm_statistics="frozen",
        )  # fmt: skip
        found.append({name: one.clone() for name, one in trainer.model.state_dict().items()})
    return found


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path, batches):
    """A batch on each of two processes, or two on one: the same weights, of parts that unfreeze one after another."""
    torch.save(batches[:2], tmp_path / "batches.pt")
    run_on_two_ranks(RANK_SCRIPT, tmp_path)
    first, second = (torch.load(tmp_path / f"steps-{rank}.pt") for rank in (0, 1))
    alone = four_steps(tmp_path, [0, 1])
    assert [name for name in alone[0] if "layers" in name and not alone[0][name].equal(alone[1][name])]
    for mine, other, whole in zip(first, second, alone, strict=True):
        for name, tensor in whole.items():
            assert mine[name].equal(other[name]), name
            torch.testing.assert_close(mine[name], tensor, rtol=1e-4, atol=1e-5)


def test_an_average_of_updates_is_no_small_file(tmp_path, batches, caplog):
    """Its rank is higher: nothing is written, and that is said."""
    caplog.set_level("INFO")
    trainer, _ = trained(tmp_path, batches, options={"ema_decay": 0.9}, low_rank=2)
    trainer.adaptation.save_result(tmp_path, None)
    assert not (tmp_path / "updates.safetensors").exists() and "no update file is written" in caplog.text


# Adapters


def test_adapters_start_as_nothing_and_learn_alone(tmp_path, batches):
    """2 adapters of 16 x 3 and 3 x 16; a model that is loaded with them says what it said, in the padding too."""
    model, processor = tiny.new_model()
    for one in (model, processor):
        one.save_pretrained(tmp_path / "start")
    wider, _ = load_model(str(tmp_path / "start"), adapter_size=3)
    inputs = {name: batches[0][name] for name in ("input_features", "attention_mask")}
    with torch.no_grad():
        assert wider.eval()(**inputs).logits.equal(model.eval()(**inputs).logits)
    assert all(one.weight.any() and not one.up.any() for one in wider.model.adapters)

    trainer, before = trained(tmp_path / "run", batches, adapter_size=3)
    adapters = set(parameter_groups(trainer.model)["adapters"])
    assert moved(trainer, before) == adapters and len(adapters) == 2 * 2
    assert trainer.adaptation.num_trained == 2 * (16 * 3 + 3 * 16)
    statistics = {name for name in before if "running" in name}
    assert all(trainer.model.state_dict()[name].equal(before[name]) for name in statistics)

    trainer.save_model(tmp_path / "saved")
    loaded, _ = load_model(str(tmp_path / "saved"))
    mask = inputs["attention_mask"]
    assert mask[:, -1].sum() < len(mask)  # some clips are padded
    with torch.no_grad():
        outputs = loaded(**inputs)
        assert outputs.logits.equal(trainer.model.eval()(**inputs).logits)
        alone = loaded(inputs["input_features"][:1, : mask[0].sum()]).logits
    torch.testing.assert_close(outputs.logits[:1, : alone.shape[1]], alone, rtol=0, atol=1e-5)
    for row, length in zip(outputs.logits, outputs.output_lengths, strict=True):
        assert not row[length:].any()
    with pytest.raises(ValueError, match="has adapters of size 3, but adapter_size is 4"):
        load_model(str(tmp_path / "saved"), adapter_size=4)
