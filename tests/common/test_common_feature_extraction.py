"""transformers' common feature-extraction tests on DeepSpeech2FeatureExtractor."""

import unittest
from typing import Any

import numpy as np

from deepspeech2 import DeepSpeech2FeatureExtractor

from . import upstream

common = upstream.load("test_sequence_feature_extraction_common")


class FeatureExtractionTester:
    batch_size = 7
    min_seq_length = 20
    max_seq_length = 84
    seq_length_diff = 10  # 20, 30, ..., 80: seven lengths
    feature_size = 9  # 16 // 2 + 1

    def prepare_feat_extract_dict(self) -> dict[str, Any]:
        return {
            "feature_size": self.feature_size,
            "sampling_rate": 16_000,
            "n_fft": 16,
            "win_length": 16,
            "hop_length": 8,
            "padding_value": 0.0,
            "return_attention_mask": True,
        }

    def prepare_inputs_for_common(self, equal_length: bool = False, numpify: bool = False) -> list:
        """Spectra of (frames, feature_size), the shortest first."""
        lengths = range(self.min_seq_length, self.max_seq_length, self.seq_length_diff)
        if equal_length:
            lengths = [self.max_seq_length] * self.batch_size
        spectra = [np.random.rand(length, self.feature_size).astype(np.float32) for length in lengths]
        return spectra if numpify else [spectrum.tolist() for spectrum in spectra]


class CommonFeatureExtractionTest(upstream.NamedSkips, common.SequenceFeatureExtractionTestMixin, unittest.TestCase):
    feature_extraction_class = DeepSpeech2FeatureExtractor

    def setUp(self) -> None:
        self.feat_extract_tester = FeatureExtractionTester()
