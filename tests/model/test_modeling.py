"""The acoustic model: equal to deepspeech.pytorch, indifferent to padding, trainable in every way it offers."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tiny
from deepspeech2.model import modeling_deepspeech2
from deepspeech2.model.configuration_deepspeech2 import DeepSpeech2Config
from deepspeech2.model.modeling_deepspeech2 import (
    DeepSpeech2ConvLayer,
    DeepSpeech2ForCTC,
    DeepSpeech2Lookahead,
    DeepSpeech2RecurrentLayer,
    _fit_persistent_kernels,
    _masked_batch_norm,
    choose_path,
    folds_time,
)
from waits import Waits

RNN_KINDS = list(itertools.product(["lstm", "gru", "rnn"], [True, False]))
LENGTHS = [30, 21, 7]
NUM_FEATURES = 9


def tiny_config(**overrides) -> DeepSpeech2Config:
    sizes = {
        "vocab_size": 6,
        "num_features": NUM_FEATURES,
        "conv_channels": [3, 2],
        "conv_kernel_sizes": [[5, 5], [3, 3]],
        "conv_strides": [[2, 2], [2, 1]],
        "conv_paddings": [[2, 2], [1, 1]],
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "lookahead_context": 3,
    }
    return DeepSpeech2Config(**sizes | overrides)


def tiny_model(**overrides) -> DeepSpeech2ForCTC:
    """A model whose running statistics and biases are not the neutral ones of a new model."""
    model = DeepSpeech2ForCTC(tiny_config(**overrides))
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith(("running_mean", "bias")) or ".bias_" in name:
                tensor.normal_(std=0.3)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
    return model


def clips(lengths: list[int] = LENGTHS) -> list[torch.Tensor]:
    return [torch.randn(length, NUM_FEATURES) for length in lengths]


def padded(batch: list[torch.Tensor], num_frames: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Features and mask; the padding holds noise, so that whatever reads it is found."""
    num_frames = num_frames or max(map(len, batch))
    features = torch.full((len(batch), num_frames, NUM_FEATURES), 7.0).normal_(std=7.0)
    mask = torch.zeros(len(batch), num_frames, dtype=torch.long)
    for row, clip in enumerate(batch):
        features[row, : len(clip)] = clip
        mask[row, : len(clip)] = 1
    return features, mask


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def buffers(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def our_name(theirs: str, num_layers: int) -> str:
    """A key of deepspeech.pytorch's state dict -> ours."""
    for prefix, ours in [
        ("conv.seq_module.0.", "model.convs.0.conv."),
        ("conv.seq_module.1.", "model.convs.0.batch_norm."),
        ("conv.seq_module.3.", "model.convs.1.conv."),
        ("conv.seq_module.4.", "model.convs.1.batch_norm."),
        *((f"rnns.{i}.rnn.", f"model.layers.{i}.rnn.") for i in range(num_layers)),
        *((f"rnns.{i}.batch_norm.module.", f"model.norms.{i - 1}.") for i in range(1, num_layers)),
        ("fc.0.module.0.", f"model.norms.{num_layers - 1}."),
        ("fc.0.module.1.", "ctc_head."),
    ]:
        if theirs.startswith(prefix):
            return ours + theirs.removeprefix(prefix)
    raise KeyError(theirs)


def test_equal_to_deepspeech_pytorch(reference_root: Path) -> None:
    checkpoint = torch.load(reference_root / "v20_bi_lstm.pth", weights_only=True)
    expected = np.load(reference_root / "v20_bi_lstm.npz")
    num_layers = checkpoint["hidden_layers"]
    model = DeepSpeech2ForCTC(
        DeepSpeech2Config(hidden_size=checkpoint["hidden_size"], num_hidden_layers=num_layers)
    ).eval()
    model.load_state_dict({our_name(key, num_layers): value for key, value in checkpoint["state_dict"].items()})

    features = torch.from_numpy(expected["x"])[:, 0].transpose(1, 2)
    mask = torch.arange(features.shape[1]) < torch.from_numpy(expected["x_sizes"])[:, None]
    with torch.no_grad():
        outputs = model(features, mask.long())

    assert outputs.output_lengths.tolist() == expected["out_sizes"].tolist()
    for row, length in enumerate(outputs.output_lengths):
        logits = torch.from_numpy(expected["logits"])[row, :length]
        torch.testing.assert_close(outputs.logits[row, :length], logits, rtol=0, atol=1e-4)


def test_default_sizes_are_those_of_the_reference_listing(reference_root: Path) -> None:
    with torch.device("meta"):
        ours = {
            name: tuple(tensor.shape) for name, tensor in DeepSpeech2ForCTC(DeepSpeech2Config()).state_dict().items()
        }
    lines = (reference_root / "default_5x1024_state_dict.txt").read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert ours == {
        our_name(key, 5): tuple(map(int, shape.strip("(),").split(",") if shape != "()" else []))
        for key, shape, _ in rows
    }


def test_default_parameter_count() -> None:
    with torch.device("meta"):
        model = DeepSpeech2ForCTC(DeepSpeech2Config())
    # deepspeech.pytorch's 5 x 1024 bidirectional LSTM over 29 labels
    assert sum(parameter.numel() for parameter in model.parameters()) == 86_618_400


@pytest.mark.parametrize(("rnn_type", "bidirectional"), RNN_KINDS)
def test_a_clip_alone_equals_the_clip_in_a_padded_batch(rnn_type: str, bidirectional: bool) -> None:
    model = tiny_model(rnn_type=rnn_type, bidirectional=bidirectional, ctc_loss_reduction="sum").eval()
    batch = clips()
    labels = torch.tensor([[1, 2, 2, 3], [4, 5, -100, -100], [3, -100, -100, -100]])

    together = model(*padded(batch, 37), labels=labels)
    together.loss.backward()
    together_gradients = gradients(model)
    model.zero_grad()

    for row, clip in enumerate(batch):
        alone = model(clip[None], labels=labels[row : row + 1])
        alone.loss.backward()
        length = alone.logits.shape[1]
        assert together.output_lengths[row] == alone.output_lengths[0] == length == (len(clip) - 1) // 2 + 1
        torch.testing.assert_close(together.logits[row, :length], alone.logits[0], rtol=0, atol=1e-5)
        assert not together.logits[row, length:].any()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(together_gradients[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_padding_does_not_reach_the_training_statistics(bidirectional: bool) -> None:
    batch = clips()
    model = tiny_model(bidirectional=bidirectional).train()
    initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    results = []
    for num_frames in (30, 47):
        model.load_state_dict(initial)
        model.zero_grad()
        outputs = model(*padded(batch, num_frames), labels=torch.tensor([[1, 2], [3, 4], [5, -100]]))
        outputs.loss.backward()
        results.append((outputs.logits[:, :15], buffers(model), gradients(model)))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_training_statistics_are_those_of_the_real_frames() -> None:
    batch = clips()
    model = tiny_model().train()
    norm = model.model.convs[0].batch_norm
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    with torch.no_grad():
        # (channels, everything else) of all real frames, without any padding
        values = torch.cat([model.model.convs[0].conv(clip.T[None, None])[0].flatten(1) for clip in batch], dim=1)
        model(*padded(batch))
    torch.testing.assert_close(norm.running_mean, 0.9 * mean + 0.1 * values.mean(dim=1))
    torch.testing.assert_close(norm.running_var, 0.9 * variance + 0.1 * values.var(dim=1, unbiased=True))
    assert norm.num_batches_tracked == 1


def test_without_padding_the_norm_is_torchs_own() -> None:
    model = tiny_model().train()
    norm, x = model.model.norms[0], torch.randn(3, 8, 11)
    expected = F.batch_norm(
        x, norm.running_mean.clone(), norm.running_var.clone(), norm.weight, norm.bias, training=True
    )
    ours = model.model.normalise(0, x.transpose(1, 2), torch.tensor([11, 11, 11])).transpose(1, 2)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(("rnn_type", "bidirectional"), RNN_KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_the_padded_path_equals_the_packed_path(rnn_type: str, bidirectional: bool, bias: bool) -> None:
    config = tiny_config(rnn_type=rnn_type, bidirectional=bidirectional, rnn_bias=bias)
    layer = DeepSpeech2RecurrentLayer(config, input_size=5)
    lengths = torch.tensor([13, 9, 1])
    mask = (torch.arange(13) < lengths[:, None])[:, :, None]
    results = []
    for path in (layer._padded, partial(layer._packed, host_lengths=lengths)):
        layer.zero_grad()
        x = torch.linspace(-1, 1, 3 * 13 * 5).view(3, 13, 5).requires_grad_()
        output = path(x, lengths) * mask
        (output * torch.linspace(0, 1, output.numel()).view_as(output)).sum().backward()
        results.append((output.detach(), x.grad, gradients(layer)))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("path", ["packed", "padded"])
def test_a_gpu_is_waited_for_once_before_the_loss(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the lengths and the check of the mask together. transformers' CTC loss waits for the labels and lengths."""
    monkeypatch.setattr(modeling_deepspeech2, "choose_path", lambda *sizes: path)
    model = DeepSpeech2ForCTC(tiny_config())
    features, mask = padded(clips())
    with Waits() as waits:
        model(features, mask, labels=torch.tensor([[1, 2], [3, -100], [2, -100]])).loss.backward()
    assert waits.found == ["cpu", "masked_select", "ctc_loss"]


@pytest.mark.parametrize("strides", [(2, 1), (1, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("padding", [0, 2])
def test_output_lengths_agree(strides: tuple[int, int], padding: int) -> None:
    model = tiny_model(
        conv_strides=[[2, strides[0]], [2, strides[1]]], conv_paddings=[[2, padding], [1, padding // 2]]
    ).eval()
    lengths = list(range(0, 60))
    from_ints = [model.get_output_lengths(length) for length in lengths]
    assert model.get_output_lengths(torch.tensor(lengths)).tolist() == from_ints
    assert all(isinstance(length, int) for length in from_ints)
    for length in (9, 10, 11, 12, 31, 58):
        if from_ints[length] > 0:
            with torch.no_grad():
                outputs = model(torch.zeros(1, length, NUM_FEATURES))
            assert outputs.logits.shape[1] == outputs.output_lengths.item() == from_ints[length]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_is_ctc(reduction: str) -> None:
    model = tiny_model(ctc_loss_reduction=reduction).eval()
    labels = torch.tensor([[1, 2, 2, 3], [4, 5, -100, -100], [3, -100, -100, -100]])
    outputs = model(*padded(clips()), labels=labels)
    expected = F.ctc_loss(
        outputs.logits.log_softmax(-1).transpose(0, 1),
        torch.tensor([1, 2, 2, 3, 4, 5, 3]),
        torch.tensor([15, 11, 4]),  # (30 - 1) // 2 + 1, (21 - 1) // 2 + 1, (7 - 1) // 2 + 1
        torch.tensor([4, 2, 1]),
        blank=0,
        reduction=reduction,
    )
    torch.testing.assert_close(outputs.loss, expected)


def test_impossible_targets_give_no_loss_when_zero_infinity() -> None:
    features, labels = torch.randn(1, 3, NUM_FEATURES), torch.tensor([[1, 2, 3, 4]])  # 2 output frames, 4 labels
    assert tiny_model(ctc_zero_infinity=True)(features, labels=labels).loss == 0
    assert tiny_model(ctc_zero_infinity=False)(features, labels=labels).loss == float("inf")


def test_gradient_checkpointing_changes_nothing() -> None:
    model = tiny_model(dropout=0.2).train()
    initial = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inputs = padded(clips())
    results = []
    for checkpointing in (False, True):
        model.load_state_dict(initial)
        model.zero_grad()
        if checkpointing:
            model.activation_checkpointing_enable()
        torch.manual_seed(1)
        outputs = model(*inputs, labels=torch.tensor([[1, 2], [3, 4], [5, -100]]))
        outputs.loss.backward()
        results.append((outputs.loss.detach(), gradients(model), buffers(model)))
    torch.testing.assert_close(*results)
    assert results[1][2]["model.norms.0.num_batches_tracked"] == 1


@pytest.mark.parametrize(("rnn_type", "bidirectional"), RNN_KINDS)
def test_bf16_autocast(rnn_type: str, bidirectional: bool) -> None:
    model = tiny_model(rnn_type=rnn_type, bidirectional=bidirectional).train()
    features, mask = padded(clips())
    labels = torch.tensor([[1, 2], [3, 4], [5, -100]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(features, mask, labels=labels).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in gradients(model).values())


def test_half_precision_weights() -> None:
    model = tiny_model().eval()
    inputs = padded(clips())
    with torch.no_grad():
        expected = model(*inputs).logits
        logits = model.to(torch.bfloat16)(*inputs).logits
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), expected, rtol=0.1, atol=0.1)


def test_mask_and_labels_are_optional() -> None:
    model = tiny_model().eval()
    features = torch.randn(1, 12, NUM_FEATURES)
    outputs = model(features)
    assert outputs.loss is None
    assert outputs.hidden_states is None
    assert outputs.output_lengths.tolist() == [6]
    torch.testing.assert_close(outputs.logits, model(features, torch.ones(1, 12, dtype=torch.bool)).logits)


def test_padding_on_the_left_is_refused() -> None:
    model = DeepSpeech2ForCTC(tiny_config()).eval()
    features = torch.randn(1, 9, model.config.num_features)
    with pytest.raises(ValueError, match="expected all padding on the right"):
        model(features, attention_mask=torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1, 1]]))


def test_training_and_evaluation_return_the_same_things() -> None:
    model = tiny_model()
    features, mask = padded(clips())
    labels = torch.tensor([[1, 2], [3, 4], [5, -100]])
    assert list(model.train()(features, mask, labels)) == list(model.eval()(features, mask, labels))


def test_one_frame_is_enough_with_padded_convolutions() -> None:
    outputs = tiny_model().eval()(torch.randn(1, 1, NUM_FEATURES))
    assert outputs.logits.shape == (1, 1, 6)
    assert outputs.logits.isfinite().all()


def test_too_few_frames_are_refused() -> None:
    model = tiny_model(conv_paddings=[[2, 0], [1, 0]])
    with pytest.raises(ValueError, match="input_features has 4 frames"):
        model(torch.randn(1, 4, NUM_FEATURES))


def test_a_clip_too_short_for_the_convolutions_does_not_disturb_its_batch() -> None:
    model = tiny_model(conv_paddings=[[2, 0], [1, 0]]).eval()
    long, short = clips([30, 4])
    outputs = model(*padded([long, short]))
    assert outputs.output_lengths.tolist() == [11, 0]  # ((30 - 5) // 2 + 1) - 2
    torch.testing.assert_close(outputs.logits[:1], model(long[None]).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 12, NUM_FEATURES + 1), (12, NUM_FEATURES), (1, 1, 12, NUM_FEATURES)])
def test_a_wrong_shape_is_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"shape \({', '.join(map(str, shape))}\); .*num_features=9"):
        tiny_model()(torch.zeros(shape))


def test_the_lookahead_sees_exactly_its_context() -> None:
    lookahead = DeepSpeech2Lookahead(tiny_config(lookahead_context=4))
    torch.nn.init.constant_(lookahead.conv.weight, 0.1)
    frames = torch.ones(1, 10, 8, requires_grad=True)
    lookahead(frames)[0, 3].sum().backward()
    assert frames.grad[0].abs().sum(-1).nonzero().flatten().tolist() == [3, 4, 5, 6]


def test_a_unidirectional_model_hears_no_further_than_its_lookahead() -> None:
    model = tiny_model(bidirectional=False, lookahead_context=3).eval()
    features = torch.randn(1, 40, NUM_FEATURES, requires_grad=True)
    model(features).logits[0, 5].sum().backward()
    # 2 coming frames of the lookahead, 1 of the second convolution, both of stride 2; 2 of the first convolution
    last = (5 + 2 + 1) * 2 + 2
    assert features.grad[0].abs().sum(-1).nonzero().max() == last


@pytest.mark.parametrize(("rnn_type", "bidirectional"), RNN_KINDS)
def test_every_parameter_gets_a_gradient(rnn_type: str, bidirectional: bool) -> None:
    model = tiny_model(rnn_type=rnn_type, bidirectional=bidirectional).train()
    model(*padded(clips()), labels=torch.tensor([[1, 2], [3, 4], [5, -100]])).loss.backward()
    # The batch norm behind a convolution takes the effect of its bias out again.
    without = {name for name, gradient in gradients(model).items() if gradient.abs().max() < 1e-6}
    assert without <= {"model.convs.0.conv.bias", "model.convs.1.conv.bias"}


@pytest.mark.parametrize(("rnn_type", "bidirectional"), RNN_KINDS)
def test_save_and_load(rnn_type: str, bidirectional: bool, tmp_path: Path) -> None:
    model = tiny_model(rnn_type=rnn_type, bidirectional=bidirectional, dropout=0.1)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded = DeepSpeech2ForCTC.from_pretrained(tmp_path)
    assert loaded.config.to_diff_dict() == model.config.to_diff_dict() | {"dtype": "float32"}
    torch.testing.assert_close(dict(loaded.state_dict()), dict(model.state_dict()), rtol=0, atol=0)


def test_trainer_scales_the_loss_itself() -> None:
    assert DeepSpeech2ForCTC.accepts_loss_kwargs is False


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"vocab_size": 0}, "vocab_size is 0; expected at least 1"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"lookahead_context": 0}, "lookahead_context is 0"),
        ({"conv_strides": [[2, 2]]}, "conv_strides is .*; expected one .* for each of the 2 conv_channels"),
        ({"conv_paddings": [[2, 2], [1]]}, "conv_paddings"),
        ({"rnn_type": "transformer"}, "rnn_type is 'transformer'; expected 'lstm', 'gru' or 'rnn'"),
        ({"dropout": 1.0}, r"dropout is 1.0; expected a probability in \[0, 1\)"),
        ({"ctc_loss_reduction": "batch"}, "ctc_loss_reduction is 'batch'"),
        ({"pad_token_id": 6}, r"pad_token_id \(the CTC blank\) is 6; .* vocab_size 6"),
        ({"pad_token_id": None}, r"pad_token_id \(the CTC blank\) is None"),
        ({"activation_max": 0}, "activation_max is 0; expected more than 0"),
        (
            {"conv_kernel_sizes": [[400, 3], [3, 3]], "conv_paddings": [[0, 1], [9, 1]]},
            "reduce num_features .* to 0, then .* rows",
        ),
        (
            {"num_features": 1, "conv_paddings": [[0, 0], [0, 0]]},
            "reduce num_features 1 to .* rows; .*: use smaller frequency kernels",
        ),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(Exception, match=message):
        tiny_config(**wrong)


def test_time_strides_and_rows_of_the_defaults() -> None:
    config = DeepSpeech2Config()
    assert config.inputs_to_logits_ratio == 160 * 2 * 1
    assert config.rnn_input_size == 32 * 41  # 161 -> 81 -> 41 rows


def test_batch_norm_far_from_zero():
    """A mean of 1,000 deviations: squares about zero would lose the variance in float32."""
    norm = torch.nn.BatchNorm1d(3).train()
    x = 1000 + torch.randn(4, 3, 50, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.batch_norm(x.double(), None, None, training=True)
    ours = _masked_batch_norm(norm, x, torch.full((4,), 50))
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=2e-4)
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean((0, 2)), rtol=1e-5, atol=0)


def test_freeze_feature_encoder_freezes_the_convolutions() -> None:
    """Of the model with a head, and of the encoder alone."""
    for model in (tiny.new_model()[0], tiny.new_model()[0].model):
        model.freeze_feature_encoder()
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad != name.removeprefix("model.").startswith("convs."), name


def test_the_head_is_not_resized_without_characters() -> None:
    model = tiny.new_model()[0]
    assert model.resize_token_embeddings(model.config.vocab_size) is model.ctc_head
    with pytest.raises(ValueError, match=r"has 5 characters, not 7. .* --new_characters, .*change_alphabet"):
        model.resize_token_embeddings(7)


def test_trainer_gets_the_logits_alone() -> None:
    assert set(tiny.new_model()[0].config.keys_to_ignore_at_inference) == {"output_lengths", "hidden_states"}


def test_which_path_a_recurrent_layer_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU always the padded one. On a GPU another than the packed one only where persistent kernels fit."""
    monkeypatch.setattr(modeling_deepspeech2, "CUDA_PATH", "streams")
    lstm, half = nn.LSTM(1312, 1024), torch.float16
    assert choose_path("cpu", half, 8, lstm) == "padded"
    assert choose_path("cuda", half, 8, lstm) == choose_path("cuda", half, 128, lstm) == "streams"
    assert choose_path("cuda", half, 129, lstm) == choose_path("cuda", torch.float32, 8, lstm) == "packed"
    for other in (nn.GRU(1312, 1024), nn.LSTM(1312, 1152), nn.LSTM(1312, 1000)):
        assert choose_path("cuda", half, 8, other) == "packed"


def test_which_convolution_folds_its_time_stride(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one with one channel and a stride in time, on a CPU with AVX2 alone, and never in a traced graph."""
    first = nn.Conv2d(1, 2, (5, 5), (2, 2))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert folds_time("cpu", first) and not folds_time("cuda", first)
    assert not folds_time("cpu", nn.Conv2d(2, 2, (5, 5), (2, 2))) and not folds_time("cpu", nn.Conv2d(1, 2, 5, (2, 1)))
    monkeypatch.setattr(torch.jit, "is_tracing", lambda: True)
    assert not folds_time("cpu", first)
    monkeypatch.undo()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert not folds_time("cpu", first)


@pytest.mark.parametrize("kernel", [[5, 5], [4, 6], [2, 1], [3, 11]])
@pytest.mark.parametrize("stride", [[2, 2], [1, 3], [3, 2]])
@pytest.mark.parametrize("padding", [[0, 0], [2, 1], [1, 5]])
def test_a_folded_time_stride_gives_the_same(kernel: list[int], stride: list[int], padding: list[int]) -> None:
    """The output and all gradients, with any number of frames left over."""
    sizes = {"conv_kernel_sizes": [kernel], "conv_strides": [stride], "conv_paddings": [padding]}
    layer = DeepSpeech2ConvLayer(tiny_config(conv_channels=[3], **sizes), 0)
    for num_frames in range(11, 17):
        x = torch.randn(2, 1, NUM_FEATURES, num_frames, requires_grad=True)
        expected, found = layer.conv(x), layer._time_folded(x)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        parameters, weights = [x, *layer.conv.parameters()], torch.randn_like(expected)
        pairs = zip(*(torch.autograd.grad(y, parameters, weights) for y in (found, expected)), strict=True)
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("rnn_type", ["lstm", "gru", "rnn"])
def test_a_batch_padded_for_persistent_kernels_gives_the_same(rnn_type: str) -> None:
    """3 clips of 5 features become 8 clips of 128, with the output and the gradients of before."""
    layer = DeepSpeech2RecurrentLayer(tiny_config(rnn_type=rnn_type), input_size=5)
    x = torch.linspace(-1, 1, 3 * 13 * 5).view(3, 13, 5).requires_grad_()
    wide, weight = _fit_persistent_kernels(x, layer.rnn.weight_ih_l0)
    assert wide.shape == (8, 13, 128) and weight.shape == (layer.rnn.weight_ih_l0.shape[0], 128)
    weights = [weight, layer.rnn.weight_hh_l0, layer.rnn.bias_ih_l0, layer.rnn.bias_hh_l0]
    state = torch.zeros(1, 8, layer.rnn.hidden_size)
    options = (True, 1, 0.0, False, False, True)
    run = {"lstm": torch.lstm, "gru": torch.gru, "rnn": torch.rnn_tanh}[rnn_type]
    found = run(wide, (state, state) if rnn_type == "lstm" else state, weights, *options)[0][:3]
    expected = layer._one_direction(x, "")
    leaves = [x, layer.rnn.weight_ih_l0, layer.rnn.weight_hh_l0]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found.square().sum(), leaves), torch.autograd.grad(expected.square().sum(), leaves)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_keeps_its_statistics(dtype: torch.dtype, tmp_path: Path) -> None:
    model = tiny_model()
    for norm in model.model.norms:
        norm.running_mean.normal_()
    model.save_pretrained(tmp_path)
    loaded = DeepSpeech2ForCTC.from_pretrained(tmp_path, dtype=dtype)
    for name, tensor in loaded.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            assert tensor.dtype == torch.float32, name
            assert torch.equal(tensor, model.state_dict()[name])
    assert loaded.dtype == loaded.ctc_head.weight.dtype == dtype
