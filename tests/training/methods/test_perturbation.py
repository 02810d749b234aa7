"""The worst change to the features: larger in effect than any random one of its size."""

import pytest
import torch

import tiny
from deepspeech2.training.methods.perturbation import divergence, evaluation_norms, frame_mean, of_size, smoothness_loss


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A model with dropout whose running statistics are those of its batch, and the batch: 4 clips, padded."""
    folder = tmp_path_factory.mktemp("speech")
    torch.manual_seed(0)
    model, processor = tiny.new_model(dropout=0.3)
    (batch,) = tiny.batches(tiny.write_corpus(folder, "u", 12), model, processor, 1, 4, folder)
    for _ in range(50):
        model(batch["input_features"], batch["attention_mask"])
    return model, batch["input_features"], batch["attention_mask"]


def test_a_mean_over_real_frames():
    values = torch.tensor([[1.0, 3.0, 50.0], [2.0, 4.0, 6.0]])
    assert frame_mean(values, torch.tensor([2, 3])).tolist() == [2, 4]


def test_divergence_by_hand():
    """KL((1/2, 1/2) || (1/4, 3/4)) = 1/2 log 2 + 1/2 log 2/3; the second frame is padding."""
    half, quarter = (torch.tensor([[[p, 1 - p], [0.9, 0.1]]]).log() for p in (0.5, 0.25))
    expected = 0.5 * torch.tensor(2.0).log() + 0.5 * torch.tensor(2 / 3).log()
    torch.testing.assert_close(divergence(half, quarter, torch.tensor([1])), expected[None])
    assert divergence(half, half, torch.tensor([1])).tolist() == [0]


def test_a_change_of_a_size(built):
    _, features, mask = built
    change = of_size(torch.randn_like(features), mask, 0.2)
    for own, length in zip(change, mask.sum(1).tolist(), strict=True):
        assert float(own[:length].square().mean().sqrt()) == pytest.approx(0.2, rel=1e-4)
        assert not own[length:].any()
    assert mask.sum(1).min() < mask.shape[1]


def test_the_worst_change_moves_the_model_more_than_random_ones(built):
    model, features, mask = built
    with torch.no_grad(), evaluation_norms(model):
        clean = model(features, mask)
        log_probs = clean.logits.log_softmax(-1)
        random = [
            divergence(
                log_probs,
                model(features + of_size(torch.randn_like(features), mask, 0.1), mask).logits.log_softmax(-1),
                clean.output_lengths,
            )
            for _ in range(20)
        ]
    worst = smoothness_loss(model, features, mask, 0.1).detach()
    assert (worst > 5 * torch.stack(random).max(0).values).all()


def test_only_the_model_under_the_change_learns_and_no_statistic_moves(built):
    model, features, mask = built
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    modes = [module.training for module in model.modules()]
    model.zero_grad()
    smoothness_loss(model, features, mask, 0.1).mean().backward()
    assert all(float(parameter.grad.abs().max()) > 0 for parameter in model.parameters())
    assert all(buffer.equal(before[name]) for name, buffer in model.named_buffers())
    assert [module.training for module in model.modules()] == modes and model.training
    model.zero_grad()


def test_learning_from_it_makes_the_model_smoother(built):
    model, features, mask = built
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = smoothness_loss(model, features, mask, 0.2).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    model.load_state_dict(kept)
    assert losses[-1] < 0.7 * losses[0]
