"""What of a model learns, and how fast."""

import copy

import pytest
import torch

import tiny
from deepspeech2.config.method_arguments import AdaptationArguments
from deepspeech2.config.validation import adaptation_faults
from deepspeech2.model.modeling_deepspeech2 import DeepSpeech2ForCTC
from deepspeech2.model.processing_deepspeech2 import DeepSpeech2Processor
from deepspeech2.training.methods.adaptation import Adaptation, parameter_groups, place_of, reestimate_norms
from deepspeech2.training.methods.alphabet import change_alphabet
from deepspeech2.training.trainer import CTCTrainer
from trainers import Repeated, run_on_two_ranks

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
    with pytest.raises(ValueError, match=r"'layers.7'; expected groups of this model: convs, layers.0, layers.1, head"):
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
    """Every two steps one of head, layers.1, layers.0, convs: 0.25 of 8 steps are two. Norms and statistics too."""
    parts = ["head", "layers.1", "layers.0", "convs"]
    for done in (2, 3, 5, 7):
        model, adaptation = adapted()
        before = {name: one.detach().clone() for name, one in model.state_dict().items()}
        adaptation = Adaptation(AdaptationArguments(unfreeze_every=every), model, max_steps=steps)
        args = tiny.training_arguments(tmp_path, max_steps=done, **SGD)
        trainer = CTCTrainer(model, args, tiny.new_model()[1], Repeated(batches), None, adaptation=adaptation)
        trainer.train()
        unfrozen = parts[: 1 + (done - 1) // 2]
        changed = {name for name, one in trainer.model.state_dict().items() if not one.equal(before[name])}
        assert changed == {name for name in before if place_of(name) in unfrozen}


def test_a_schedule_that_is_no_number_of_steps_or_too_slow_is_refused():
    assert [adaptation_faults(AdaptationArguments(unfreeze_every=every)) for every in (0.5, 3.0)] == [[], []]
    (fault,) = adaptation_faults(AdaptationArguments(unfreeze_every=2.5))
    assert fault == "unfreeze_every is 2.5; expected whole steps, or a share below 1"
    with pytest.raises(
        ValueError, match="would unfreeze the last of 4 parts at step 12, but the training has 10 steps; expected less"
    ):
        adapted(unfreeze_every=4)


def test_the_pull_to_the_start(tmp_path, batches):
    """The gradient is that of the loss and l2_sp x (weight - start)."""
    model, adaptation = adapted(l2_sp=0.5)
    start = {name: one.detach().clone() for name, one in model.named_parameters()}
    for one in model.parameters():
        one.data.add_(1.0)
        one.grad = torch.full_like(one, 3.0)
    with adaptation.backward_pass(0, share=0.5):  # one of two of a step
        pass
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
    convolution.batch_norm.requires_grad_(False)  # one that does not learn has its statistics found too
    reestimate_norms(model, iter([batches[1]]))
    torch.testing.assert_close(convolution.batch_norm.running_mean, found[2])
    assert not convolution.batch_norm.weight.requires_grad


RANK_SCRIPT = """
import os, sys
from pathlib import Path
import torch
from accelerate import PartialState
from test_adaptation import adapted, reestimate_norms
state = PartialState(cpu=True)
batches = torch.load(Path(sys.argv[1], "batches.pt"))
model, _ = adapted()
reestimate_norms(model, iter(batches[:1] if state.process_index == 0 else batches[1:]))
torch.save(model.model.convs[0].batch_norm.running_mean, Path(sys.argv[1], f"mean-{state.process_index}.pt"))
state.destroy_process_group()
"""


@pytest.mark.slow
def test_statistics_are_those_of_all_processes(tmp_path, batches):
    """One batch on the first process, two on the second: each batch weighs the same, and both find the same."""
    torch.save([{name: batch[name] for name in ("input_features", "attention_mask")} for batch in batches[:3]],
               tmp_path / "batches.pt")  # fmt: skip
    run_on_two_ranks(RANK_SCRIPT, tmp_path)
    model, _ = adapted()
    reestimate_norms(model, iter(batches[:3]))
    for rank in (0, 1):
        found = torch.load(tmp_path / f"mean-{rank}.pt")
        torch.testing.assert_close(found, model.model.convs[0].batch_norm.running_mean)


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
    assert "4 kept, 1 copied from the base letter ('å'), 1 new ('x')" in caplog.text
    assert changed.encode("båx c") == [new[one] for one in "båx c"]


def test_a_letter_in_another_case_has_the_row_of_the_letter():
    model, processor = tiny.new_model()
    rows = model.ctc_head.weight.clone()
    upper = DeepSpeech2Processor(processor.feature_extractor, processor.tokenizer, text_case="upper")
    changed = change_alphabet(model, upper, "ABÇ\u200c")
    old, new = processor.tokenizer.get_vocab(), changed.tokenizer.get_vocab()
    for token, letter in {"A": "a", "B": "b", "Ç": "c"}.items():
        torch.testing.assert_close(model.ctc_head.weight[new[token]], rows[old[letter]])
    assert changed.text_case == "upper" and changed.encode("ÇA") == [new["Ç"], new["A"]]


def test_characters_that_no_text_has_are_refused():
    model, processor = tiny.new_model()
    with pytest.raises(
        ValueError, match=r"new_characters has 'A', '\.', but normalisation never leaves them in a text"
    ):
        change_alphabet(model, processor, "aA.")


def test_the_start_is_left_alone():
    """Without any setting nothing is touched: not even what somebody has frozen."""
    model, _ = tiny.new_model()
    model.model.convs[0].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    adaptation = Adaptation(AdaptationArguments(), model, max_steps=5)
    assert adaptation.plain and not any(one.requires_grad for one in model.model.convs[0].parameters())
    with adaptation.backward_pass(0, 1.0):
        pass
    assert all(one.equal(before[name]) for name, one in model.state_dict().items())
