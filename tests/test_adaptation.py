"""What of a model learns, and how fast."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

import tiny
from deepspeech2.adaptation import Adaptation, parameter_groups, reestimate_norms
from deepspeech2.alphabets import change_alphabet
from deepspeech2.learning_arguments import AdaptationArguments
from deepspeech2.loading import load_model
from deepspeech2.low_rank import LowRankUpdates
from deepspeech2.modeling_deepspeech2 import DeepSpeech2ForCTC
from deepspeech2.trainer import CTCTrainer
from deepspeech2.updates import apply_updates
from test_trainer import Repeated, StopAfterSave, Stopped

SGD = {"optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant", "max_grad_norm": 0, "weight_decay": 0}


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    model, processor = tiny.new_model()
    return tiny.batches(tiny.write_corpus(folder, "u", 12), model, processor, 3, 4, folder)


def adapted(**given) -> tuple[DeepSpeech2ForCTC, Adaptation]:
    """A model, with adapters if they are asked for; without them its weights are the same."""
    torch.manual_seed(1)
    model, _ = tiny.new_model()
    if size := given.get("adapter_size", 0):
        bare, (model, _) = model, tiny.new_model(adapter_size=size)
        model.load_state_dict(bare.state_dict(), strict=False)
    return model, Adaptation(AdaptationArguments(**given), model, max_steps=10)


def trained(folder, batches, steps: int = 3, options: dict | None = None, **given):
    """The trainer after its training, and the weights before it."""
    model, adaptation = adapted(**given)
    before = {name: one.detach().clone() for name, one in model.state_dict().items()}
    args = tiny.training_arguments(folder, max_steps=steps, **(SGD | (options or {})))
    trainer = CTCTrainer(model, args, tiny.new_model()[1], Repeated(batches), None, adaptation=adaptation)
    if adaptation.low_rank:
        trainer.add_callback(adaptation.low_rank)
    trainer.train()
    return trainer, before


def moved(trainer, before) -> set[str]:
    return {name for name, one in trainer.model.named_parameters() if not one.equal(before[name])}


def test_every_parameter_is_in_one_group():
    model, _ = tiny.new_model()
    groups = parameter_groups(model)
    assert list(groups) == ["convs", "layers.0", "layers.1", "head", "norms"]
    names = [name for group in groups.values() for name in group]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert len(groups["norms"]) == 2 * (2 + 2) and groups["head"] == ["ctc_head.weight"]  # 2 convs, 2 layers


@pytest.mark.parametrize("chosen", [["head"], ["norms"], ["layers.1", "head"], ["convs"]])
def test_what_is_chosen_learns_and_nothing_else(tmp_path, batches, chosen):
    trainer, before = trained(tmp_path, batches, trained_groups=chosen)
    groups = parameter_groups(trainer.model)
    expected = {name for group in chosen for name in groups[group]}
    assert moved(trainer, before) == expected
    assert trainer.adaptation.num_trained == sum(before[name].numel() for name in expected)
    statistics = [name for name in before if name.endswith("running_mean")]
    still = all(trainer.model.state_dict()[name].equal(before[name]) for name in statistics)
    assert still == ("norms" not in chosen)


def test_an_unknown_group_is_named():
    with pytest.raises(ValueError, match=r"'layers.7'; the groups of this model are convs, layers.0, layers.1, head"):
        adapted(trained_groups=["layers.7"])


def test_rates_fall_from_the_head_downward(tmp_path, batches):
    """head 0.1, layers.1 0.05, layers.0 0.025, convs 0.0125; a norm has the rate of what it follows."""
    trainer, _ = trained(tmp_path, batches, layer_lr_decay=0.5)
    rates = {one: group["lr"] for group in trainer.optimizer.param_groups for one in group["params"]}
    names = dict(trainer.model.named_parameters())
    for name, rate in {
        "ctc_head.weight": 0.1,
        "model.norms.1.weight": 0.05,
        "model.layers.1.rnn.weight_hh_l0": 0.05,
        "model.norms.0.bias": 0.025,
        "model.layers.0.rnn.bias_ih_l0": 0.025,
        "model.convs.1.conv.weight": 0.0125,
        "model.convs.0.batch_norm.weight": 0.0125,
    }.items():
        assert rates[names[name]] == pytest.approx(rate), name
    assert len(rates) == len(names)


@pytest.mark.parametrize(("every", "steps"), [(2, 7), (0.25, 8)])
def test_unfreezing_goes_from_the_head_downward(tmp_path, batches, every, steps):
    """Every two steps one of head, layers.1, layers.0, convs: 0.25 of 8 steps are two."""
    parts = [{"head"}, {"layers.1"}, {"layers.0"}, {"convs"}]
    model, _ = adapted()
    groups = parameter_groups(model)
    for done in (2, 3, 5, 7):
        model, adaptation = adapted()
        before = {name: one.detach().clone() for name, one in model.state_dict().items()}
        adaptation = Adaptation(AdaptationArguments(unfreeze_every=every), model, max_steps=steps)
        args = tiny.training_arguments(tmp_path, max_steps=done, **SGD)
        trainer = CTCTrainer(model, args, tiny.new_model()[1], Repeated(batches), None, adaptation=adaptation)
        trainer.train()
        unfrozen = {part for some in parts[: 1 + (done - 1) // 2] for part in some}
        changed = moved(trainer, before)
        assert {name for part in unfrozen for name in groups[part]} <= changed
        assert not changed & {name for part in set().union(*parts) - unfrozen for name in groups[part]}


def test_a_schedule_that_is_too_slow_is_refused():
    with pytest.raises(ValueError, match="unfreezes the last of 4 parts at step 12, but the training has 10 steps"):
        adapted(unfreeze_every=4)


def test_the_pull_to_the_start(tmp_path, batches):
    """The gradient is that of the loss and l2_sp x (weight - start)."""
    model, adaptation = adapted(l2_sp=0.5)
    start = {name: one.detach().clone() for name, one in model.named_parameters()}
    for one in model.parameters():
        one.data.add_(1.0)
        one.grad = torch.full_like(one, 3.0)
    adaptation.after_backward(0, share=0.5)  # one of two backward passes of a step
    for name, one in model.named_parameters():
        torch.testing.assert_close(one.grad, torch.full_like(one, 3.0 + 0.5 * 0.5 * 1.0)), name
        torch.testing.assert_close(one.detach() - start[name], torch.ones_like(one))


def test_weights_stay_nearer_to_the_start(tmp_path, batches):
    distances = []
    for pull in (0.0, 5.0):
        trainer, before = trained(tmp_path, batches, steps=6, l2_sp=pull)
        distances.append(sum((one - before[name]).square().sum() for name, one in trainer.model.named_parameters()))
    assert distances[1] < 0.9 * distances[0]


@pytest.mark.parametrize("statistics", ["update", "frozen"])
def test_statistics_of_batch_norms(tmp_path, batches, statistics):
    trainer, before = trained(tmp_path, batches, norm_statistics=statistics)
    names = [name for name in before if name.endswith(("running_mean", "running_var"))]
    changed = [name for name in names if not trainer.model.state_dict()[name].equal(before[name])]
    assert changed == (names if statistics == "update" else [])
    assert any("batch_norm.weight" in name for name in moved(trainer, before))  # they learn all the same


def test_statistics_found_anew(batches):
    """One batch twice has the statistics of one; those of the first norm are the mean over both of two batches."""
    model, _ = adapted()
    convolution = model.model.convs[0]
    found = []
    for some in ([batches[0]], [batches[0]] * 2, [batches[1]], batches[:2]):
        assert reestimate_norms(model, iter(some)) == len(some)
        found.append(convolution.batch_norm.running_mean.clone())
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[3], (found[0] + found[2]) / 2)
    assert not model.training or convolution.batch_norm.momentum == 0.1


# Low-rank updates


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


def test_updates_of_another_model_are_refused(tmp_path, batches):
    trainer, _ = trained(tmp_path, batches, low_rank=2)
    trainer.adaptation.save_result(tmp_path, None)
    with pytest.raises(ValueError, match=r"of another model .* expected the one that its training started from"):
        apply_updates(tiny.new_model(hidden_size=8)[0], tmp_path)
    with pytest.raises(ValueError, match="expected the folder of a run with trained_groups, adapter_size or low_rank"):
        apply_updates(trainer.model, tmp_path / "none")


def test_all_that_learns_is_no_small_file(tmp_path, batches):
    trainer, _ = trained(tmp_path, batches, l2_sp=0.1)
    trainer.adaptation.save_result(tmp_path, None)
    assert not (tmp_path / "updates.safetensors").exists()


@pytest.mark.parametrize(
    "given",
    [
        {"low_rank": 2, "layer_lr_decay": 0.5},
        {"unfreeze_every": 1, "l2_sp": 0.1},
        {"adapter_size": 3, "low_rank": 2, "trained_groups": ["norms"], "unfreeze_every": 2},
    ],
)
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
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


def test_an_average_of_updates_is_no_small_file(tmp_path, batches, caplog):
    """Its rank is higher: nothing is written, and that is said."""
    caplog.set_level("INFO")
    trainer, _ = trained(tmp_path, batches, options={"ema_decay": 0.9}, low_rank=2)
    trainer.adaptation.save_result(tmp_path, None)
    assert not (tmp_path / "updates.safetensors").exists() and "is in the model alone" in caplog.text


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
    with pytest.raises(ValueError, match="has adapters of size 3, not 4"):
        load_model(str(tmp_path / "saved"), adapter_size=4)


# Another alphabet


def test_rows_of_the_head_go_with_their_characters(batches, caplog):
    """b and c change places and keep their logits; a with a ring has those of a; x the mean of a, b and c."""
    caplog.set_level("INFO")
    model, processor = tiny.new_model()
    model.eval()
    inputs = {name: batches[0][name] for name in ("input_features", "attention_mask")}
    with torch.no_grad():
        before = model(**inputs).logits
        changed = change_alphabet(model, processor, "c bxå")
        after = model(**inputs).logits
    old, new = processor.tokenizer.get_vocab(), changed.tokenizer.get_vocab()
    assert model.config.vocab_size == len(new) == 6 == after.shape[-1]
    for token in ("c", "b", " ", processor.tokenizer.pad_token):
        torch.testing.assert_close(after[..., new[token]], before[..., old[token]])
    torch.testing.assert_close(after[..., new["å"]], before[..., old["a"]])
    torch.testing.assert_close(after[..., new["x"]], before[..., [old[one] for one in "abc"]].mean(-1))
    assert "4 are those of their characters, 1 of the letter below a mark (å), 1 are new (x)" in caplog.text
    assert changed.encode("båx c") == [new[one] for one in "båx c"]


def test_characters_that_no_text_has_are_refused():
    model, processor = tiny.new_model()
    with pytest.raises(ValueError, match=r"new_characters has 'A', '\.', which no normalised text holds"):
        change_alphabet(model, processor, "aA.")


def test_the_start_is_left_alone():
    """Without any setting nothing is touched: not even what somebody has frozen."""
    model, _ = tiny.new_model()
    model.model.convs[0].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    adaptation = Adaptation(AdaptationArguments(), model, max_steps=5)
    assert adaptation.plain and not any(one.requires_grad for one in model.model.convs[0].parameters())
    adaptation.after_backward(0, 1.0)
    assert all(one.equal(before[name]) for name, one in model.state_dict().items())
