"""DeepSpeech2 for the Hugging Face ecosystem: model, processor, data, training, evaluation and inference."""

import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cli.convert import convert
    from .decoding.decoder import Decoder, load_decoder
    from .evaluation.metrics import load_metric
    from .inference.streaming import Stream
    from .inference.transcription import transcribe
    from .inference.voice_commands.utterances import recognise
    from .model.configuration_deepspeech2 import DeepSpeech2Config
    from .model.feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor
    from .model.loading import load_model
    from .model.modeling_deepspeech2 import DeepSpeech2ForCTC, DeepSpeech2Model, DeepSpeech2PreTrainedModel
    from .model.processing_deepspeech2 import DeepSpeech2Processor

__version__ = "0.1.0"

__all__ = [
    "Decoder",
    "DeepSpeech2Config",
    "DeepSpeech2FeatureExtractor",
    "DeepSpeech2ForCTC",
    "DeepSpeech2Model",
    "DeepSpeech2PreTrainedModel",
    "DeepSpeech2Processor",
    "Stream",
    "convert",
    "load_decoder",
    "load_metric",
    "load_model",
    "recognise",
    "transcribe",
]

_MODULES = {
    "Decoder": ".decoding.decoder",
    "DeepSpeech2Config": ".model.configuration_deepspeech2",
    "DeepSpeech2FeatureExtractor": ".model.feature_extraction_deepspeech2",
    "DeepSpeech2ForCTC": ".model.modeling_deepspeech2",
    "DeepSpeech2Model": ".model.modeling_deepspeech2",
    "DeepSpeech2PreTrainedModel": ".model.modeling_deepspeech2",
    "DeepSpeech2Processor": ".model.processing_deepspeech2",
    "Stream": ".inference.streaming",
    "convert": ".cli.convert",
    "load_decoder": ".decoding.decoder",
    "load_metric": ".evaluation.metrics",
    "load_model": ".model.loading",
    "recognise": ".inference.voice_commands.utterances",
    "transcribe": ".inference.transcription",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _runs_console_command() -> bool:
    """Return whether this process runs `deepspeech2` or `python -m deepspeech2`, where argv[0] is still '-m'."""
    started_by_name = Path(sys.argv[0]).name == "deepspeech2"
    return started_by_name or (sys.argv[0] == "-m" and ("-m", "deepspeech2") in pairwise(sys.orig_argv))


# `import deepspeech2` registers the architecture with the Auto classes of transformers, by the import of the model
# package. transformers and torch take seconds to import, and `deepspeech2 --help` needs neither. In the process of the
# console command, each command imports the model package itself.
if not _runs_console_command():
    import_module(".model", __name__)
