"""A stream says what the model says of the whole, however it is cut, as soon as it can; and forgets what it may."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import tiny
from deepspeech2.decoding.decoder import frame_times
from deepspeech2.inference.streaming import Stream
from streaming_models import FIXED, streaming_model

LINEAR = {"sampling_rate": 8000, "n_fft": 160, "win_length": 160, "hop_length": 70, "feature_size": 81}
LINEAR |= {"normalization": "fixed", "feature_mean": [0.5] * 81, "feature_std": [0.7] * 81}
LENGTHS = (1, 50, 129, 2_345)  # samples: below, just above half a window of 256, and 30 frames


def whole(model, processor, samples: np.ndarray) -> torch.Tensor:
    """Nothing of what is so short that the model refuses it."""
    inputs = processor(samples, sampling_rate=8000, return_tensors="pt")
    if model.get_output_lengths(inputs["input_features"].shape[1]) < 1:
        return torch.zeros(0, 5)
    with torch.inference_mode():
        return model(**inputs).logits[0].log_softmax(-1)


def noise(count: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(count).standard_normal(count).astype(np.float32)


def in_pieces(stream: Stream, samples: np.ndarray, cuts) -> torch.Tensor:
    pieces = [stream.push(samples[start:end]) for start, end in pairwise([0, *cuts, len(samples)])]
    return torch.cat([*pieces, stream.finish()])


@pytest.mark.parametrize("rnn_type", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize(
    "strides, kernels, paddings",
    [
        ([[2, 2], [2, 1]], [[5, 5], [5, 5]], [[2, 2], [2, 2]]),
        ([[2, 3], [2, 2]], [[5, 11], [5, 4]], [[2, 5], [2, 1]]),
        ([[2, 7], [2, 1]], [[5, 5], [5, 3]], [[2, 2], [2, 2]]),  # a stride longer than its kernel; padding beyond half
        ([[2, 1], [2, 2]], [[5, 1], [5, 2]], [[2, 0], [2, 0]]),
    ],
)
def test_pieces_equal_the_whole(rnn_type: str, strides, kernels, paddings) -> None:
    shape = {"conv_strides": strides, "conv_kernel_sizes": kernels, "conv_paddings": paddings}
    model, processor = streaming_model(rnn_type=rnn_type, **shape)
    stream, rng = Stream(model, processor), np.random.default_rng(0)
    for count in LENGTHS:
        samples = noise(count)
        expected = whole(model, processor, samples)
        for cuts in ([], range(1, min(count, 300)), range(100, count, 100), np.sort(rng.integers(0, count + 1, 9))):
            torch.testing.assert_close(in_pieces(stream, samples, cuts), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "features, sizes",
    [
        (LINEAR, {}),
        (FIXED | {"pad_mode": "constant"}, {"lookahead_context": 1}),
        (FIXED, {"adapter_size": 3, "num_hidden_layers": 3, "rnn_bias": False}),
        (FIXED | {"hop_length": 300, "audio_scale": 32767.0}, {}),  # longer than the window of 256
    ],
)
def test_pieces_equal_the_whole_for_other_features_and_sizes(features, sizes) -> None:
    num_bins = {"num_features": features["feature_size"], "hop_length": features["hop_length"]}
    model, processor = streaming_model(features, **sizes, **num_bins)
    for count in LENGTHS:
        found = in_pieces(Stream(model, processor), noise(count), range(77, count, 77))
        torch.testing.assert_close(found, whole(model, processor, noise(count)), rtol=0, atol=1e-5)


def test_a_frame_comes_as_soon_as_the_last_sample_of_the_next() -> None:
    """
    The margin of 128 and 2 and 2 * 2 frames of 80 are 608 samples to a frame under the recurrent layers, which come in
    twos; another 3 frames of 160 are looked ahead at, and 1 may be waited for: 608 + 4 * 160.
    """
    model, processor = streaming_model()
    stream = Stream(model, processor)
    assert stream.delay_s == pytest.approx((608 + 640) / 8000)
    frame_s, first_s = frame_times(model, processor)
    assert (frame_s, first_s) == (160 / 8000, 0.0)
    count = 0
    for place in range(8, 4000, 8):
        count += len(stream.push(noise(4000)[place - 8 : place]))
        convolved = max((place - 608) // 160 + 1, 0)
        assert count == max(convolved // 2 * 2 - 3, 0)


def test_what_it_keeps_does_not_grow() -> None:
    model, processor = streaming_model()
    stream = Stream(model, processor)

    def kept() -> int:
        windows = [stream._samples, *stream._under_convs, stream._ahead]
        assert all(one._kept.numel() * 4 == one._kept.untyped_storage().nbytes() for one in windows)
        return sum(one._kept.numel() for one in windows) + len(stream._last)

    sizes = []
    for _ in range(60):
        stream.push(noise(800))
        sizes.append(kept())
    assert len(set(sizes[5:])) <= 2 and sizes[-1] < 3000


def test_a_second_recording_begins_anew() -> None:
    model, processor = streaming_model()
    stream = Stream(model, processor)
    first = in_pieces(stream, noise(1000), [300])
    stream.push(noise(2000))
    stream.reset()
    assert torch.equal(in_pieces(stream, noise(1000), [300]), first)
    assert stream.finish().shape == (0, 5)  # of nothing


def test_what_cannot_stream_is_refused_with_what_to_do() -> None:
    model, processor = tiny.new_model()
    with pytest.raises(ValueError, match=r"bidirectional.*streaming\.yaml; .* 'clip'.*'fixed'.*; .*model\.eval\(\)"):
        Stream(model, processor)
    model, _ = streaming_model()
    with pytest.raises(ValueError, match=r"^the model cannot stream: the processor's normalization is 'clip'"):
        Stream(model, processor)
    unmeasured = FIXED | {"feature_mean": None, "feature_std": None}
    with pytest.raises(ValueError, match="'fixed', but feature_mean and feature_std have not been measured"):
        Stream(*streaming_model(unmeasured))


@pytest.mark.parametrize(
    "samples, message",
    [
        (np.zeros((2, 8), np.float32), r"shape \(2, 8\)"),
        (np.zeros(8, np.int16), "type int16; .* divide 16-bit audio by 32768"),
        (np.array([0.0, np.nan], np.float32), "NaN"),
    ],
)
def test_wrong_samples_are_refused(samples: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stream(*streaming_model()).push(samples)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_stream_on_a_gpu_says_what_it_says_on_a_cpu() -> None:
    """Up to TF32's 10 bits; `deepspeech2 listen --device cuda` has the model there before the stream is made."""
    model, processor = streaming_model()
    expected = in_pieces(Stream(model, processor), noise(2_345), range(100, 2_345, 100))
    found = in_pieces(Stream(model.cuda(), processor), noise(2_345), range(100, 2_345, 100))
    assert found.device.type == "cpu"
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-2)
