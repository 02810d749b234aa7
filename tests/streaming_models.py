"""A tiny unidirectional model."""

import torch

import tiny
from deepspeech2.config.arguments import ModelArguments
from deepspeech2.training.start import build_model

SIZES = tiny.MODEL | {"bidirectional": False, "lookahead_context": 4}
FIXED = tiny.FEATURES | {"normalization": "fixed", "feature_mean": [-6.0] * 20, "feature_std": [2.0] * 20}


def streaming_model(features=FIXED, **sizes):
    """Random weights, and batch norms that do something."""
    model, processor = build_model(
        ModelArguments(model_config=SIZES | sizes, feature_config=features, characters=" abc"), []
    )
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
        for name, parameter in model.named_parameters():
            if name.endswith("up"):
                parameter.normal_()
    return model.eval(), processor
