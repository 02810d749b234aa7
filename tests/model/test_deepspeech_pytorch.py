"""Checkpoints of every deepspeech.pytorch version become models that say the same."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForCTC, AutoProcessor

from deepspeech2.cli.convert import convert
from deepspeech2.model.deepspeech_pytorch import from_deepspeech_pytorch

LABELS = "_'ABCDEFGHIJKLMNOPQRSTUVWXYZ "
AUDIO = {"sample_rate": 16000, "window_size": 0.02, "window_stride": 0.01, "window": "hamming"}
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
SIZE = 8


def weights(*, v1: bool = False, rnn_type: str = "lstm", bidirectional: bool = True, size: int = SIZE, layers: int = 2):
    """A state dict with the names and shapes of v2.0 and later, or of v1."""
    rng = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return 0.2 * torch.randn(*shape, generator=rng)

    conv = "conv" if v1 else "conv.seq_module"
    state: dict[str, torch.Tensor] = OrderedDict()

    def norm(prefix: str, width: int) -> None:
        state.update({f"{prefix}.weight": 1 + some(width), f"{prefix}.bias": some(width)})
        state.update({f"{prefix}.running_mean": some(width), f"{prefix}.running_var": 1 + some(width).abs()})
        if not v1:
            state[f"{prefix}.num_batches_tracked"] = torch.tensor(5)

    for place, shape in ((0, (32, 1, 41, 11)), (3, (32, 32, 21, 11))):
        state.update({f"{conv}.{place}.weight": 0.1 * some(*shape), f"{conv}.{place}.bias": some(32)})
        norm(f"{conv}.{place + 1}", 32)
    for layer in range(layers):
        width = (672 if v1 else 1312) if layer == 0 else size
        if layer:
            norm(f"rnns.{layer}.batch_norm.module", size)
        for suffix in ("", "_reverse") if bidirectional else ("",):
            state[f"rnns.{layer}.rnn.weight_ih_l0{suffix}"] = some(GATES[rnn_type] * size, width)
            state[f"rnns.{layer}.rnn.weight_hh_l0{suffix}"] = some(GATES[rnn_type] * size, size)
            if not v1:
                state[f"rnns.{layer}.rnn.bias_ih_l0{suffix}"] = some(GATES[rnn_type] * size)
                state[f"rnns.{layer}.rnn.bias_hh_l0{suffix}"] = some(GATES[rnn_type] * size)
    if not bidirectional:
        state["lookahead.0.weight" if v1 else "lookahead.0.conv.weight"] = some(*((size, 21) if v1 else (size, 1, 20)))
    norm("fc.0.module.0", size)
    state["fc.0.module.1.weight"] = some(29, size)
    return state


def save(
    path: Path, *, legacy: bool = False, audio: Any = AUDIO, labels: Any = LABELS, more: Any = None, **given
) -> Path:
    bidirectional = given.get("bidirectional", True)
    content = {"version": "0.0.1", "audio_conf": audio, "labels": labels, "state_dict": weights(**given)}
    content |= {"bidirectional": bidirectional} if more is None else more
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("name", ["v3_bi_lstm.ckpt", "v3_uni_lstm.ckpt", "v20_bi_lstm.pth", "v12_bi_gru.pth"])
def test_logits_and_text_are_those_of_deepspeech_pytorch(reference_root: Path, name: str) -> None:
    model, processor = from_deepspeech_pytorch(reference_root / name)
    expected = np.load(reference_root / f"{Path(name).stem}.npz")
    features = torch.from_numpy(expected["x"])[:, 0].transpose(1, 2)
    mask = torch.arange(features.shape[1]) < torch.from_numpy(expected["x_sizes"])[:, None]
    with torch.no_grad():
        outputs = model(features, mask.long())
    # v1 neither masks nor packs: of a padded batch only its longest clip is what it would be alone
    rows = range(1) if name.startswith("v12") else range(len(features))
    for row in rows:
        length = int(expected["out_sizes"][row])
        assert outputs.output_lengths[row] == length
        logits = torch.from_numpy(expected["logits"])[row, :length]
        torch.testing.assert_close(outputs.logits[row, :length], logits, rtol=0, atol=1e-4)
        assert processor.batch_decode(outputs.logits[row : row + 1, :length].argmax(-1)) == [expected["text"][row]]


@pytest.mark.parametrize(
    ("name", "clip", "key"),
    [
        ("v3_bi_lstm.ckpt", "b", "spec_norm_reflect_b"),
        ("v20_bi_lstm.pth", "b", "spec_norm_v2_b"),
        ("v12_bi_gru.pth", "b", "spec_norm_v1_b"),
    ],
)
def test_features_are_those_of_the_version(reference_root: Path, name: str, clip: str, key: str) -> None:
    _, processor = from_deepspeech_pytorch(reference_root / name)
    arrays = np.load(reference_root / "spectrograms.npz")
    features = processor(arrays[f"wav_{clip}"], sampling_rate=16000).input_features[0]
    difference = np.abs(features - arrays[key].T)
    # v1 scales samples to 2^31, where the rounding of a transform in float32 shows in bins that are all but silent.
    assert difference.max() < (2e-3 if "v1" in key else 1e-4) and difference.mean() < 1e-5


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("rnn_type", ["lstm", "gru", "rnn"])
def test_every_layout_converts(tmp_path: Path, rnn_type: str, bidirectional: bool, legacy: bool) -> None:
    kind = {"rnn_type": rnn_type, "bidirectional": bidirectional}
    for v1 in (False, True):
        model, processor = from_deepspeech_pytorch(save(tmp_path / "a.pth", v1=v1, legacy=legacy, **kind))
        config = model.config
        assert (config.rnn_type, config.bidirectional, config.rnn_bias) == (rnn_type, bidirectional, not v1)
        assert (config.hidden_size, config.num_hidden_layers) == (SIZE, 2)
        assert bidirectional or config.lookahead_context == (21 if v1 else 20)
        extractor = processor.feature_extractor
        assert (extractor.audio_scale, extractor.window_periodic) == (2.0**31 if v1 else 32768 / 32767, False)
        # v2: (T - 1) // 2 + 1; v1.1: ((T + 20 - 11) // 2 + 1) - 10
        assert config.lengths_after_each_conv(101)[-1] == (46 if v1 else 51)
        assert processor.batch_decode([[8, 8, 0, 5, 28, 2]]) == ["GD A"] and processor.normalize_text("Go!") == "GO"
    model, _ = from_deepspeech_pytorch(save(tmp_path / "a.pth", v1=True, more={}, **kind))
    assert model.config.lengths_after_each_conv(101)[-1] == 36  # v1.0: ((T - 11) // 2 + 1) - 10


def test_names_of_data_parallel_and_strays(tmp_path: Path) -> None:
    state = weights()
    state |= {f"rnns.0.batch_norm.module.{name}": torch.zeros(1312) for name in ("weight", "bias")}
    content = {"audio_conf": AUDIO, "labels": list(LABELS), "state_dict": {f"module.{k}": v for k, v in state.items()}}
    torch.save(content, tmp_path / "a.pth")
    model, _ = from_deepspeech_pytorch(tmp_path / "a.pth")
    assert torch.equal(model.ctc_head.weight, state["fc.0.module.1.weight"])


def test_the_folder_is_a_model_of_its_own(tmp_path: Path) -> None:
    line = convert(save(tmp_path / "best.pth"), tmp_path / "out")
    assert "deepspeech.pytorch v2.0, 2 x 8 LSTM, bidirectional" in line and "29 labels" in line
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert "Converted from `best.pth`" in card.text and "was not scored" in card.text and card.data.eval_results is None
    direct, _ = from_deepspeech_pytorch(tmp_path / "best.pth")
    model, processor = (auto.from_pretrained(tmp_path / "out") for auto in (AutoModelForCTC, AutoProcessor))
    inputs = processor(np.sin(np.arange(16000)).astype(np.float32), sampling_rate=16000, return_tensors="pt")
    assert torch.equal(model.eval()(**inputs).logits, direct(**inputs).logits)
    with pytest.raises(ValueError, match="already exists"):
        convert(tmp_path / "best.pth", tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio": AUDIO | {"window": "hann"}}, "hann window of 320 samples"),
        ({"audio": AUDIO | {"sample_rate": 8000}}, "window of 160 samples"),
        ({"labels": LABELS.strip()}, "have no space"),
        ({"labels": LABELS + "Ä"}, "converted completely: .*size mismatch for ctc_head.weight"),
    ],
)
def test_what_cannot_be_had_exactly_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_deepspeech_pytorch(save(tmp_path / "a.pth", **change))


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    for content, message in (
        ({"weight": torch.ones(1)}, "expected a state_dict, but it holds"),
        ([1, 2], "it holds list"),
        ({"state_dict": {"layer.weight": torch.ones(1)}}, "its weights are layer.weight"),
    ):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(ValueError, match=message):
            from_deepspeech_pytorch(tmp_path / "a.pth")
    content = torch.load(save(tmp_path / "a.pth"))
    del content["state_dict"]["rnns.1.rnn.weight_hh_l0"]
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"missing weights: model\.layers\.1\.rnn\.weight_hh_l0"):
        from_deepspeech_pytorch(tmp_path / "a.pth")
    for name in ("labels", "audio_conf"):
        content = torch.load(save(tmp_path / "a.pth"))
        del content[name]
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(ValueError, match=f"converted completely: it lacks '{name}'"):
            convert(tmp_path / "a.pth", tmp_path / "out")
