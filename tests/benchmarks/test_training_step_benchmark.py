"""benchmarks/training_step.py, plain.py and features.py: the plain way is the same model and the same features."""

from itertools import chain

import numpy as np
import pytest
import torch
import training_step
from plain import PlainDeepSpeech2, pad, plain_spectrogram

from deepspeech2.model.feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor

LABELS = [torch.tensor([5, 6, 6, 7]), torch.tensor([8, 9])]


def both(lengths, train):
    """Losses and gradients of the plain way and of this one, of the same weights and clips."""
    model = training_step.new_model("2x24").train(train)
    model.config.ctc_loss_reduction = "sum"
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal((length, 161), dtype=np.float32) for length in lengths]
    features, sizes = pad(clips)
    found = []
    for way in ("plain", "this"):
        model.zero_grad()
        if way == "plain":
            loss = PlainDeepSpeech2(model).train(train).loss(features, sizes, LABELS)
        else:
            mask = (torch.arange(features.shape[1]) < sizes[:, None]).long()
            targets = torch.nn.utils.rnn.pad_sequence(LABELS, batch_first=True, padding_value=-100)
            loss = model(features, mask, labels=targets).loss
        loss.backward()
        found.append((loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}))
    return found


@pytest.mark.parametrize(("lengths", "train"), [((80, 50), False), ((80, 80), True)])
def test_loss_and_gradients_are_those_of_the_plain_way(lengths, train):
    """With fixed statistics; in training for clips of equal length, for the plain batch norm counts padding."""
    (plain_loss, plain), (loss, ours) = both(lengths, train)
    torch.testing.assert_close(loss, plain_loss, rtol=1e-5, atol=0)
    assert plain.keys() == ours.keys()
    # The gradient of a bias before a batch norm is 0 but for rounding: one scale for all.
    largest = max(float(gradient.abs().max()) for gradient in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-5, atol=1e-5 * largest)


def test_features_are_those_of_the_plain_way():
    samples = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1
    ours = DeepSpeech2FeatureExtractor()(samples, sampling_rate=16_000, return_tensors="np")["input_features"][0]
    # librosa 0.11 has another last frame, not that of the reflected clip.
    np.testing.assert_allclose(ours[:-1], plain_spectrogram(samples)[:-1], atol=1e-4)


def test_random_batches_and_neighbours_have_the_same_clips():
    random, neighbours = (training_step.choose(order, 1, 4) for order in ("random", "neighbours"))
    assert sorted(chain(*random)) == sorted(chain(*neighbours)) and len(random) == len(neighbours) == 4
    padding = [sum(8 * max(batch) - sum(batch) for batch in batches) for batches in (random, neighbours)]
    assert padding[1] < padding[0] / 2 and {len(batch) for batch in random + neighbours} == {8}


def test_the_one_batch_has_clips_of_every_length():
    (whole,), (half,) = (training_step.choose(factor, 1, 4) for factor in ("1", "0.5"))
    assert whole == sorted(whole) and whole[0] < 6 and whole[-1] > 15 and len(whole) == 8
    assert half == pytest.approx([one / 2 for one in whole])


@pytest.mark.parametrize("way", ["plain", "this"])
def test_a_measurement_counts_audio_and_cpu_time(way, monkeypatch):
    monkeypatch.setattr(training_step, "DECILES_S", (1.0,) * 11)
    result = training_step.measure("1x8", way, "1", "small", seed=1, num_batches=1)
    assert result["audio_s"] == 8 and result["cpu_s"] > result["system_s"] >= 0 and result["peak_mb"] > 0


def test_each_part_changes_one_thing():
    for name, (before, after) in training_step.PARTS.items():
        changed = sum(one != other for one, other in zip(before, after, strict=True))
        assert changed == (3 if name == "all" else 1)
