"""What fits of a trained model goes into another; what does not stays as it was, and is named."""

import logging

import pytest
import torch

import tiny
from deepspeech2.config.arguments import ModelArguments
from deepspeech2.model.loading import take_weights
from deepspeech2.training.plan import load_or_build


def test_a_unidirectional_model_takes_the_forward_direction(tmp_path, caplog) -> None:
    source, processor = tiny.new_model()
    source.model.norms[0].running_mean.fill_(3.0)
    source.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    sizes = tiny.MODEL | {"bidirectional": False, "lookahead_context": 3}
    arguments = ModelArguments(
        model_config=sizes, feature_config=tiny.FEATURES, characters=" abc", warm_start=str(tmp_path)
    )
    with caplog.at_level(logging.INFO):
        model, _ = load_or_build(arguments, [])
    theirs = source.state_dict()
    for name, own in model.state_dict().items():
        if name != "model.lookahead.conv.weight":
            assert torch.equal(own, theirs[name]), name
    lookahead = model.model.lookahead.conv.weight
    assert torch.equal(lookahead, torch.tensor([1.0, 0.0, 0.0]).expand(16, 1, 3))
    total = model.num_parameters()
    assert f"{total - 16 * 3:,} of {total:,} weights are the checkpoint's; not model.lookahead" in caplog.text


def test_other_sizes_keep_their_random_weights() -> None:
    model, source = tiny.new_model(hidden_size=8)[0], tiny.new_model()[0]
    before = model.ctc_head.weight.clone()
    convs = sum(parameter.numel() for parameter in model.model.convs.parameters())
    assert take_weights(model, source) == convs
    assert torch.equal(model.ctc_head.weight, before)
    assert torch.equal(model.model.convs[1].conv.weight, source.model.convs[1].conv.weight)


def test_nothing_that_fits_is_refused() -> None:
    wide = tiny.new_model(conv_channels=[3, 3], hidden_size=8)[0]
    with pytest.raises(ValueError, match="no weight of that checkpoint has the name and shape"):
        take_weights(wide, tiny.new_model()[0])
