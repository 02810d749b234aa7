"""benchmarks/training_step.py, plain.py and features.py: the plain way is the same model and the same features."""

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


def test_both_ways_see_the_longest_clip_and_eight_at_a_time():
    durations_s = [float(value) for value in range(1, 33)]
    plain, this = (training_step.choose(durations_s, way, 2) for way in ("plain", "this"))
    assert plain == [[*map(float, range(9, 17))], [*map(float, range(25, 33))]]
    assert sorted(map(sorted, this)) == plain


def test_a_measurement_counts_audio(monkeypatch):
    monkeypatch.setattr(training_step, "draw_durations_s", lambda count, seed: [1.0] * count)
    result = training_step.measure("1x8", "this", seed=1, num_batches=1)
    assert result["audio_s_per_cpu_s"] > 0 and result["peak_mb"] > 0
