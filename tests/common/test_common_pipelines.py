"""transformers' common pipeline tests on DeepSpeech2ForCTC: automatic speech recognition."""

import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from transformers import Wav2Vec2CTCTokenizer, pipeline

from deepspeech2 import DeepSpeech2Config, DeepSpeech2FeatureExtractor, DeepSpeech2ForCTC, DeepSpeech2Processor

from . import skips, upstream

common = upstream.load("test_pipeline_mixin")


class SpeechRecognitionPipelineTests:
    """What the tests do with a speech-recognition pipeline; the source distribution leaves its own out."""

    def get_test_pipeline(
        self, model: Any, tokenizer: Any, feature_extractor: Any, dtype: str = "float32"
    ) -> tuple[Any, list[np.ndarray]]:
        recognizer = pipeline(
            "automatic-speech-recognition",
            model=model,
            tokenizer=tokenizer,
            feature_extractor=feature_extractor,
            dtype=dtype,
        )
        noise = np.random.default_rng(0).standard_normal(40_000).astype(np.float32)
        return recognizer, [np.zeros(32_000, np.float32), noise, noise[:1_000]]

    def run_pipeline_test(self, recognizer: Any, examples: list[np.ndarray]) -> None:
        singles = [recognizer(example.copy()) for example in examples]
        assert all(set(output) == {"text"} and isinstance(output["text"], str) for output in singles)
        assert recognizer([example.copy() for example in examples], batch_size=3) == singles
        for example, single in zip(examples, singles, strict=True):
            raw = recognizer({"raw": example.copy(), "sampling_rate": 16_000, "stride": (0, 0)})
            assert raw["text"].startswith(single["text"][:-1])  # without the clip's last frame
            timed = recognizer(example.copy(), return_timestamps="char")
            assert timed["text"] == single["text"] == "".join(chunk["text"] for chunk in timed["chunks"])


@upstream.skipping(skips.PIPELINES)
class CommonPipelineTest(upstream.NamedSkips, common.PipelineTesterMixin, unittest.TestCase):
    pipeline_model_mapping = {"automatic-speech-recognition": DeepSpeech2ForCTC}

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        tokenizer = DeepSpeech2Processor.build_tokenizer("'abcdefghijklmnopqrstuvwxyz ")
        config = DeepSpeech2Config(vocab_size=29, hidden_size=8, num_hidden_layers=1, conv_channels=[2, 2])
        model_folder = Path(folder.name, "deepspeech2", "DeepSpeech2ForCTC")
        DeepSpeech2ForCTC(config).save_pretrained(model_folder)
        DeepSpeech2Processor(DeepSpeech2FeatureExtractor(), tokenizer).save_pretrained(model_folder)
        classes = {"tokenizer_classes": ["Wav2Vec2CTCTokenizer"], "processor_classes": ["DeepSpeech2FeatureExtractor"]}
        task = {"automatic-speech-recognition": {"test": f"{__name__}.{SpeechRecognitionPipelineTests.__name__}"}}
        for patch in (
            mock.patch.multiple(
                common,
                TRANSFORMERS_TINY_MODEL_PATH=folder.name,
                tiny_model_summary={"DeepSpeech2ForCTC": classes},
                transformers_module=SimpleNamespace(
                    Wav2Vec2CTCTokenizer=Wav2Vec2CTCTokenizer, DeepSpeech2FeatureExtractor=DeepSpeech2FeatureExtractor
                ),
            ),
            mock.patch.dict(common.pipeline_test_mapping, task),
        ):
            patch.start()
            self.addCleanup(patch.stop)
