"""transformers' common model tests on DeepSpeech2Model and DeepSpeech2ForCTC."""

import unittest
from unittest import mock

import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING_NAMES, MODEL_MAPPING_NAMES
from transformers.testing_utils import torch_device

from deepspeech2 import DeepSpeech2Config, DeepSpeech2ForCTC, DeepSpeech2Model

from . import skips, upstream

common = upstream.load("test_modeling_common")


class ModelTester:
    """Small sizes; as many channels times rows come out of the convolutions as the recurrent layers have units."""

    batch_size = 3
    num_frames = 20
    seq_length = 10  # (20 - 1) // 2 + 1
    num_hidden_layers = 2
    hidden_size = 12
    is_training = True

    def get_config(self) -> DeepSpeech2Config:
        return DeepSpeech2Config(
            vocab_size=7,
            num_features=12,
            conv_channels=[3, 4],
            conv_kernel_sizes=[[5, 5], [3, 3]],
            conv_strides=[[2, 2], [2, 1]],
            conv_paddings=[[2, 2], [1, 1]],
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[DeepSpeech2Config, dict[str, torch.Tensor]]:
        config = self.get_config()
        mask = torch.ones(self.batch_size, self.num_frames, dtype=torch.long, device=torch_device)
        mask[1, 13:] = 0
        features = torch.randn(self.batch_size, self.num_frames, config.num_features, device=torch_device)
        return config, {"input_features": features, "attention_mask": mask}


@upstream.skipping(skips.MODELING, skips.MODELING_BY_HARDWARE)
class CommonModelTest(upstream.NamedSkips, common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (DeepSpeech2Model, DeepSpeech2ForCTC)
    has_attentions = False
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self) -> None:
        self.model_tester = ModelTester()
        # By these tables the tests tell which classes take labels.
        for table, name in (
            (MODEL_MAPPING_NAMES, "DeepSpeech2Model"),
            (MODEL_FOR_CTC_MAPPING_NAMES, "DeepSpeech2ForCTC"),
        ):
            patch = mock.patch.dict(table, {"deepspeech2": name})
            patch.start()
            self.addCleanup(patch.stop)
