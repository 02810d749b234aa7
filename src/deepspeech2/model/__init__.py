"""
The network with its configuration, feature extractor and processor, and loading, conversion and ONNX export.

In: folders, Hub ids and checkpoints of deepspeech.pytorch. Out: models and processors of transformers. Importing this
package registers the architecture with the Auto classes. Without the package, the Auto classes need the code files that
save_pretrained puts next to the weights (trust_remote_code=True).
"""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForCTC, AutoProcessor

from .configuration_deepspeech2 import DeepSpeech2Config
from .feature_extraction_deepspeech2 import DeepSpeech2FeatureExtractor
from .modeling_deepspeech2 import DeepSpeech2ForCTC, DeepSpeech2Model
from .processing_deepspeech2 import DeepSpeech2Processor

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
