"""The gradient of a domain classifier, turned round on its way to the encoder."""

import pytest
import torch
from torch import nn

from deepspeech2.training.methods.domain_adversarial import (
    DomainClassifier,
    domain_loss,
    reversal_weight,
    reverse_gradient,
)


def speech(count: int = 8, frames: int = 5, size: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """States of which the second half of the clips differs in the first of `size` values; all lengths but one full."""
    states = torch.randn(count, frames, size)
    states[count // 2 :, :, 0] += 3
    return states, torch.tensor([frames] * (count - 1) + [frames - 2])


def test_the_encoder_gets_the_opposite_of_what_the_classifier_wants():
    """The encoder's gradient is -0.3 times what it would be, the classifier's own is untouched."""
    states, lengths = speech()
    encoder, classifier = nn.Linear(6, 6), DomainClassifier(6)
    found = []
    for weight in (None, 0.3):
        hidden = encoder(states)
        seen = hidden if weight is None else reverse_gradient(hidden, weight)
        loss, _ = domain_loss(classifier(seen, lengths), 4)
        parameters = [*encoder.parameters(), *classifier.parameters()]
        found.append(torch.autograd.grad(loss, parameters))
    for plain, reversed_ in zip(found[0][:2], found[1][:2], strict=True):
        assert plain.abs().max() > 1e-3
        torch.testing.assert_close(reversed_, -0.3 * plain)
    for plain, own in zip(found[0][2:], found[1][2:], strict=True):
        assert own.equal(plain)


@pytest.mark.parametrize(("progress", "weight"), [(0, 0), (0.1, 0.462117), (0.5, 0.986614), (1, 0.999909)])
def test_the_schedule_of_the_paper(progress, weight):
    """2 / (1 + exp(-10 p)) - 1 = tanh(5 p)."""
    assert reversal_weight(progress) == pytest.approx(weight, abs=1e-6)


def test_source_and_target_count_alike_whatever_their_numbers():
    logits = torch.tensor([-2.0, 1.0, 1.0, 3.0])
    loss, right = domain_loss(logits, 3)
    softplus = nn.functional.softplus
    assert right == pytest.approx((1 / 3 + 1) / 2)
    expected = ((softplus(logits[0]) + 2 * softplus(logits[1])) / 3 + softplus(-logits[3])) / 2
    assert float(loss) == pytest.approx(float(expected))


def test_the_classifier_does_not_see_padding():
    states, lengths = speech()
    classifier = DomainClassifier(6)
    changed = states.clone()
    changed[-1, 3:] = 100
    assert classifier(changed, lengths).equal(classifier(states, lengths))
    torch.testing.assert_close(classifier(states[-1:, :3], lengths[-1:]), classifier(states, lengths)[-1:])


@pytest.mark.parametrize(("weight", "told_apart"), [(1.0, False), (0.0, True)])
def test_training_hides_the_domain(weight, told_apart):
    """
    An encoder that must keep the sum of its values, and whose classifier is turned against it, ends with domains that a
    fresh classifier cannot tell apart by their means; without the reversal it leaves them 3 apart.
    """
    states, lengths = speech(64)
    encoder, classifier = nn.Linear(6, 6), DomainClassifier(6)
    nn.init.eye_(encoder.weight)
    optimizer = torch.optim.Adam([*encoder.parameters(), *classifier.parameters()], lr=0.01)
    for _ in range(400):
        optimizer.zero_grad()
        hidden = encoder(states)
        kept = (hidden[..., 1:] - states[..., 1:]).square().mean()
        loss, _ = domain_loss(classifier(reverse_gradient(hidden, weight), lengths), 32)
        (kept + loss).backward()
        optimizer.step()
    with torch.no_grad():
        hidden = encoder(states)
    apart = (hidden[:32].mean((0, 1)) - hidden[32:].mean((0, 1))).abs().max()
    assert (apart > 1.5) == told_apart, apart
