"""DeepSpeech2 as classes of transformers: configuration, feature extraction, network and processor.

In: a model folder, a Hub id or a checkpoint of deepspeech.pytorch. Out: model and processor, or an ONNX file.
"""
