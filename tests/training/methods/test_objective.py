"""What the model learns from: each part of the sum by its formula."""

import math
from types import SimpleNamespace

import pytest
import torch

import tiny
from deepspeech2.config.method_arguments import ObjectiveArguments
from deepspeech2.data.streams import INPUTS
from deepspeech2.model.processing_deepspeech2 import DeepSpeech2Processor
from deepspeech2.training.methods.objective import Objective, divergence, frame_mean, joined


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("speech"), "u", 12)


@pytest.fixture(scope="module")
def clips(manifest, tmp_path_factory):
    """Two batches of three: the first with labels, the inputs of the second as its `unlabelled`."""
    model, processor = tiny.new_model()
    first, second = tiny.batches(manifest, model, processor, 2, 3, tmp_path_factory.mktemp("clips"))
    inputs = {name: first[name] for name in (*INPUTS, "labels")}
    return inputs | {"unlabelled": {name: second[name] for name in INPUTS}}


def test_a_mean_over_real_frames():
    values = torch.tensor([[1.0, 3.0, 50.0], [2.0, 4.0, 6.0]])
    assert frame_mean(values, torch.tensor([2, 3])).tolist() == [2, 4]


def test_divergence_by_hand():
    """KL((1/2, 1/2) || (1/4, 3/4)) = 1/2 log 2 + 1/2 log 2/3; the second frame is padding."""
    half, quarter = (torch.tensor([[[p, 1 - p], [0.9, 0.1]]]).log() for p in (0.5, 0.25))
    expected = 0.5 * torch.tensor(2.0).log() + 0.5 * torch.tensor(2 / 3).log()
    torch.testing.assert_close(divergence(half, quarter, torch.tensor([1])), expected[None])
    assert divergence(half, half, torch.tensor([1])).tolist() == [0]


def labelled(clips: dict) -> dict:
    return {name: value for name, value in clips.items() if name != "unlabelled"}


def new_objective(arguments: ObjectiveArguments, seed: int = 1):
    """An objective and its model, in evaluation mode: without dropout and with the statistics as they are."""
    torch.manual_seed(seed)
    model, processor = tiny.new_model()
    return Objective(arguments, model.eval(), processor), model


def ctc(model, inputs: dict) -> torch.Tensor:
    return model(**labelled(inputs)).loss


def gradients(loss: torch.Tensor, model) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_ctc_alone_is_the_models_own_loss(clips):
    objective, model = new_objective(ObjectiveArguments(ctc_weight=2.0))
    loss = objective.loss(model, model, labelled(clips), 0.0)
    own = ctc(model, clips)
    assert loss.item() == 2 * own.item()
    assert objective.means() == {"ctc_loss": pytest.approx(own.item())} and objective.means() == {}
    assert ObjectiveArguments().plain and not objective.plain


def test_smoothing_and_entropy_of_a_model_that_knows_nothing(clips):
    """Of 5 symbols that are alike, both entropies are log 5: 0.8 ctc + 0.2 log 5 - 0.5 log 5."""
    objective, model = new_objective(ObjectiveArguments(label_smoothing=0.2, entropy_weight=0.5))
    torch.nn.init.zeros_(model.ctc_head.weight)
    loss = objective.loss(model, model, labelled(clips), 0.0)
    own = ctc(model, clips).item()
    assert loss.item() == pytest.approx(0.8 * own + 0.2 * math.log(5) - 0.5 * math.log(5))
    assert objective.means() == pytest.approx(
        {"ctc_loss": own, "entropy": math.log(5), "uniform_cross_entropy": math.log(5)}
    )


def test_smoothing_and_entropy_of_a_frame_by_hand(clips):
    """Means over the real frames of each clip, then over the clips."""
    objective, model = new_objective(ObjectiveArguments(label_smoothing=0.2, entropy_weight=0.5))
    objective.loss(model, model, labelled(clips), 0.0)
    outputs = model(**labelled(clips))
    own = [logits[:length] for logits, length in zip(outputs.logits, outputs.output_lengths, strict=True)]
    entropy = torch.stack([torch.distributions.Categorical(logits=one).entropy().mean() for one in own]).mean()
    uniform = torch.stack([-one.log_softmax(-1).mean() for one in own]).mean()
    found = objective.means()
    assert found["entropy"] == pytest.approx(entropy.item(), rel=1e-5)
    assert found["uniform_cross_entropy"] == pytest.approx(uniform.item(), rel=1e-5)
    assert outputs.output_lengths.unique().numel() > 1


def test_consistency_of_two_views_by_hand(clips):
    """
    Half of KL(a || b) + KL(b || a), a mean over real frames, then over clips. CTC is the mean over both views. The
    first argument of each KL is a constant: no gradient is that of the symmetric divergence.
    """
    objective, model = new_objective(ObjectiveArguments(consistency_weight=2.0))
    views = [clips["input_features"], clips["input_features"] * 0.5]
    loss = objective.loss(model, model, labelled(clips) | {"second_view": views[1]}, 0.0)
    both = [model(one, clips["attention_mask"], clips["labels"]) for one in views]
    p, q = (one.logits.log_softmax(-1) for one in both)
    by_clip = []
    for a, b, length in zip(p, q, both[0].output_lengths, strict=True):
        pairs = ((a[:length].detach(), b[:length]), (b[:length].detach(), a[:length]))
        by_clip.append(
            sum(torch.nn.functional.kl_div(o, t, log_target=True, reduction="sum") for t, o in pairs) / length / 2
        )
    consistency, own = torch.stack(by_clip).mean(), (both[0].loss + both[1].loss) / 2
    assert objective.means() == pytest.approx({"consistency": consistency.item(), "ctc_loss": own.item()}, rel=1e-4)
    assert consistency > 1e-4 and loss.item() == pytest.approx((own + 2 * consistency).item(), rel=1e-5)
    wanted = gradients(own + 2 * consistency, model)
    for name, gradient in gradients(loss, model).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-3, atol=1e-5)


def test_views_and_unlabelled_speech_are_one_batch(clips):
    """First view, second view, speech without transcripts: the losses of the last never see the views' labels."""
    given = clips | {"second_view": 2 * clips["input_features"]}
    features, mask = joined(given)
    frames = clips["attention_mask"].shape[1]
    assert features.shape[0] == mask.shape[0] == 9
    assert features[3:6, :frames].equal(2 * features[:3, :frames]) and mask[3:6].equal(mask[:3])
    objective, model = new_objective(ObjectiveArguments(consistency_weight=1.0, entropy_weight=1.0))
    objective.loss(model, model, given, 0.0)
    with_it = objective.means()
    objective.loss(model, model, labelled(given), 0.0)
    assert with_it == pytest.approx(objective.means(), rel=1e-5)


@pytest.mark.parametrize("hypotheses", ["samples", "n_best"])
def test_expected_errors_join_the_sum(clips, hypotheses):
    objective, model = new_objective(ObjectiveArguments(mwer_weight=3.0, mwer_hypotheses=hypotheses))
    loss = objective.loss(model, model, labelled(clips), 0.0)
    found = objective.means()
    assert loss.item() == pytest.approx(found["ctc_loss"] + 3 * found["expected_error_rate"])
    assert 0.5 < found["expected_error_rate"] < 4  # of two words a clip
    plain = gradients(ctc(model, clips), model)
    assert any(not gradient.allclose(plain[name]) for name, gradient in gradients(loss, model).items())


def test_unlabelled_speech_never_reaches_ctc(clips):
    """Its loss is what it is without any; the features of speech without transcripts get no gradient from it."""
    objective, model = new_objective(ObjectiveArguments(entropy_weight=1.0, label_smoothing=0.1, mwer_weight=1.0))
    given = clips | {"unlabelled": clips["unlabelled"] | {"labels": torch.full((3, 2), 3)}}
    given["unlabelled"]["input_features"] = given["unlabelled"]["input_features"].clone().requires_grad_()
    torch.manual_seed(0)
    with_it = objective.loss(model, model, given, 0.0)
    found = objective.means()
    objective.loss(model, model, labelled(clips), 0.0)
    alone = objective.means()
    for name in ("ctc_loss", "entropy", "uniform_cross_entropy"):
        assert found[name] == pytest.approx(alone[name], rel=1e-5)
    assert found["ctc_loss"] == pytest.approx(ctc(model, clips).item(), rel=1e-5)
    with_it.backward()
    assert not given["unlabelled"]["input_features"].grad.any()


def test_two_batches_are_joined_by_padding(clips):
    """The longer of the two gives the length."""
    features, mask = joined(clips)
    first, second = clips["attention_mask"].shape[1], clips["unlabelled"]["attention_mask"].shape[1]
    assert features.shape[:2] == mask.shape == (6, max(first, second)) and first != second
    assert mask.sum(1).tolist() == [
        *clips["attention_mask"].sum(1).tolist(),
        *clips["unlabelled"]["attention_mask"].sum(1).tolist(),
    ]
    assert features[3:, :second].equal(clips["unlabelled"]["input_features"])
    assert not features[3:, second:].any() and not features[:3, first:].any()


@pytest.mark.parametrize("speech", ["all", "labelled", "unlabelled"])
def test_a_model_that_has_not_moved_has_nothing_to_be_taught(clips, speech):
    arguments = ObjectiveArguments(ctc_weight=0.0, distillation_weight=1.0, distillation_speech=speech)
    objective, model = new_objective(arguments)
    loss = objective.loss(model, model, clips, 0.0)
    assert abs(loss.item()) < 1e-6
    assert max(float(gradient.abs().max()) for gradient in gradients(loss, model).values()) < 1e-6

    with torch.no_grad():
        model.ctc_head.weight += 0.1 * torch.randn_like(model.ctc_head.weight)
    loss = objective.loss(model, model, clips, 0.0)
    found = gradients(loss, model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter -= 0.01 * found[name]
    assert 0 < objective.loss(model, model, clips, 0.0).item() < loss.item()


@pytest.mark.parametrize("speech", ["labelled", "unlabelled"])
def test_distillation_by_hand(clips, speech):
    """T^2 KL at T = 2, of the clips that are named alone; the copy is that of the start and no part of the model."""
    arguments = ObjectiveArguments(distillation_weight=1.0, distillation_temperature=2.0, distillation_speech=speech)
    named = clips["unlabelled"] if speech == "unlabelled" else {name: clips[name] for name in clips["unlabelled"]}
    objective, model = new_objective(arguments)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    taught = model(**named).logits
    with torch.no_grad():
        model.ctc_head.weight += 0.1 * torch.randn_like(model.ctc_head.weight)
    objective.loss(model, model, clips, 0.0)
    outputs = model(**named)
    by_clip = []
    for wanted, heard, length in zip(taught, outputs.logits, outputs.output_lengths, strict=True):
        p, q = ((one[:length] / 2).log_softmax(-1) for one in (wanted, heard))
        by_clip.append(4 * torch.nn.functional.kl_div(q, p, log_target=True, reduction="sum") / length)
    assert objective.means()["distillation"] == pytest.approx(torch.stack(by_clip).mean().item(), rel=1e-4)
    assert all(tensor.equal(start[name]) for name, tensor in objective.start.state_dict().items())
    assert not any(parameter.requires_grad for parameter in objective.start.parameters())


@pytest.mark.parametrize(("layer", "reached"), [(0, {"convs"}), (1, {"convs", "layers.0"}), (-1, None)])
def test_the_encoder_learns_what_the_classifier_does_not_want(clips, layer, reached):
    """
    Below the chosen layer the gradient is that of CTC minus 0.5 tanh(5 p) times the classifier's; at the start of the
    training it is that of CTC, and above the layer always.
    """
    arguments = ObjectiveArguments(domain_adversarial_weight=0.5, domain_layer=layer)
    objective, model = new_objective(arguments)
    own = gradients(ctc(model, clips), model)

    def with_domains(progress: float) -> dict[str, torch.Tensor]:
        return gradients(objective.loss(model, model, clips, progress), model)

    at_start, half = with_domains(0.0), with_domains(0.5)
    weight = 0.5 * math.tanh(2.5)
    features, mask = joined(clips)
    outputs = model(features, mask, output_hidden_states=True)
    logits = objective.heads["domain"](outputs.hidden_states[layer], outputs.output_lengths)
    softplus = torch.nn.functional.softplus
    model.zero_grad()
    ((softplus(logits[:3]).mean() + softplus(-logits[3:]).mean()) / 2).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(at_start[name], own[name], rtol=1e-3, atol=1e-4)
        wanted = torch.zeros_like(own[name]) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(half[name], own[name] - weight * wanted, rtol=1e-3, atol=1e-4)
        if reached is not None:
            below = any(name.startswith(f"model.{group}.") for group in reached)
            assert bool(wanted.any()) == below, name


@pytest.mark.parametrize(("unit", "expected"), [("word", 1 / 2), ("character", 1 / 5)])
def test_errors_are_of_the_unit_that_was_asked_for(tmp_path, unit, expected):
    """Of "ab cb" only "ab cc" is heard: one of two words, one of five characters. By a processor that was loaded."""
    _, processor = tiny.new_model()
    processor.save_pretrained(tmp_path)
    arguments = ObjectiveArguments(mwer_weight=1.0, ctc_weight=0.0, mwer_unit=unit)
    model, _ = tiny.new_model()
    objective = Objective(arguments, model, DeepSpeech2Processor.from_pretrained(tmp_path))
    heard, said = (processor.encode(text) for text in ("ab cc", "ab cb"))
    frames = [label for letter in heard for label in (letter, 0)]
    logits = 50 * torch.nn.functional.one_hot(torch.tensor([frames]), model.config.vocab_size).float()
    outputs = SimpleNamespace(logits=logits, output_lengths=torch.tensor([len(frames)]))
    inputs = {"input_features": torch.zeros(1, 1, 1), "attention_mask": torch.ones(1, 1)}
    objective.loss(lambda *_, **__: outputs, model, inputs | {"labels": torch.tensor([said])}, 0.0)
    assert objective.means()["expected_error_rate"] == pytest.approx(expected)


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="domain_layer is 3; expected 0 for the convolutions, 1 to 2 for"):
        new_objective(ObjectiveArguments(domain_adversarial_weight=1.0, domain_layer=3))
