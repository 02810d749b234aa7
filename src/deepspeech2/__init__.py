"""DeepSpeech2 in the Hugging Face ecosystem: model, processor, data, training, scoring, reports."""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForCTC, AutoProcessor

from .model.configuration_deepspeech2 import DeepSpeech2Config
from .model.feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor
from .model.modeling_deepspeech2 import DeepSpeech2ForCTC, DeepSpeech2Model, DeepSpeech2PreTrainedModel
from .model.processing_deepspeech2 import DeepSpeech2Processor

# In this process the Auto classes know the architecture; in one without this package, the code files that
# save_pretrained puts beside the weights serve (trust_remote_code=True).
AutoConfig.register(DeepSpeech2Config.model_type, DeepSpeech2Config)
AutoModel.register(DeepSpeech2Config, DeepSpeech2Model)
AutoModelForCTC.register(DeepSpeech2Config, DeepSpeech2ForCTC)
AutoFeatureExtractor.register(DeepSpeech2Config, DeepSpeech2FeatureExtractor)
AutoProcessor.register(DeepSpeech2Config, DeepSpeech2Processor)
DeepSpeech2Config.register_for_auto_class()
DeepSpeech2Model.register_for_auto_class("AutoModel")
DeepSpeech2ForCTC.register_for_auto_class("AutoModelForCTC")
DeepSpeech2FeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
DeepSpeech2Processor.register_for_auto_class("AutoProcessor")

__version__ = "0.1.0"

__all__ = [
    "DeepSpeech2Config",
    "DeepSpeech2FeatureExtractor",
    "DeepSpeech2ForCTC",
    "DeepSpeech2Model",
    "DeepSpeech2PreTrainedModel",
    "DeepSpeech2Processor",
]
