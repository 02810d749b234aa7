"""transformers' common processor tests on DeepSpeech2Processor."""

import unittest
from typing import Any
from unittest import mock

from transformers import Wav2Vec2CTCTokenizer

from deepspeech2 import DeepSpeech2FeatureExtractor, DeepSpeech2Processor

from . import skips, upstream

common = upstream.load("test_processing_common")


@upstream.skipping(skips.PROCESSING)
class CommonProcessorTest(upstream.NamedSkips, common.ProcessorTesterMixin, unittest.TestCase):
    processor_class = DeepSpeech2Processor
    text_input_name = "labels"

    def setUp(self) -> None:
        for attribute, value in (
            # The extractor demands the rate with every call, which these tests leave out.
            ("audio_kwargs", {"sampling_rate": 16_000}),
            # A class that is saved with its code leaves a note of it in the object, and the loaded one has none.
            ("_auto_class", None),
        ):
            patch = mock.patch.object(DeepSpeech2Processor, attribute, value, create=True)
            patch.start()
            self.addCleanup(patch.stop)

    @classmethod
    def _setup_feature_extractor(cls) -> DeepSpeech2FeatureExtractor:
        return DeepSpeech2FeatureExtractor()

    @classmethod
    def _setup_tokenizer(cls) -> Wav2Vec2CTCTokenizer:
        return DeepSpeech2Processor.build_tokenizer("'abcdefghijklmnopqrstuvwxyz ")

    @staticmethod
    def prepare_processor_dict() -> dict[str, Any]:
        return {"text_case": "lower", "removed_characters": "#"}
