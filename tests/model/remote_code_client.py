"""
Loads a model folder by its own code, as somebody does who has transformers but not this package.

    python -I tests/remote_code_client.py FOLDER AUDIO.npy RESULTS.json [AUDIO_FILE]

Writes what the Auto classes and the pipeline made of it as JSON. test_remote_code.py runs it in a process of its own.
"""

import json
import sys
from pathlib import Path


class Refusal:
    """An import of this package fails, installed or not."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] == "deepspeech2":
            raise ModuleNotFoundError(f"{name} is refused: the code must come from the model folder")


sys.meta_path.insert(0, Refusal())

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForCTC,
    AutoProcessor,
    pipeline,
)


def main(folder: str, audio_path: str, results_path: str, audio_file: str | None = None) -> None:
    torch.set_num_threads(1)
    audio = np.load(audio_path)
    trusted = {"trust_remote_code": True}
    config = AutoConfig.from_pretrained(folder, **trusted)
    processor = AutoProcessor.from_pretrained(folder, **trusted)
    extractor = AutoFeatureExtractor.from_pretrained(folder, **trusted)
    encoder = AutoModel.from_pretrained(folder, **trusted).eval()
    model = AutoModelForCTC.from_pretrained(folder, **trusted).eval()
    inputs = processor(audio, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits
        hidden_states = encoder(**inputs).last_hidden_state

    recognizer = pipeline("automatic-speech-recognition", model=folder, **trusted)
    chunking = {"chunk_length_s": 2, "stride_length_s": 0.5}
    results = {
        "classes": [type(one).__name__ for one in (config, processor, extractor, encoder, model)],
        "modules": [type(one).__module__.split(".")[0] for one in (config, processor, extractor, encoder, model)],
        "features": extractor(audio, sampling_rate=16_000, return_tensors="np").input_features.tolist(),
        "logits": logits.tolist(),
        "hidden_states": hidden_states.tolist(),
        "greedy": processor.batch_decode(logits.argmax(-1))[0],
        "normalized": processor.normalize_text("Hello, World!"),
        "plain": recognizer(audio.copy()),
        "batch": recognizer([audio.copy(), audio[:16_000].copy()], batch_size=2),
        "char": recognizer(audio.copy(), return_timestamps="char"),
        "word": recognizer(audio.copy(), return_timestamps="word"),
        "chunked": recognizer(audio.copy(), **chunking),
        "chunked_char": recognizer(audio.copy(), **chunking, return_timestamps="char"),
        "file": recognizer(audio_file) if audio_file else None,
    }
    assert "deepspeech2" not in sys.modules
    Path(results_path).write_text(json.dumps(results, default=float))


if __name__ == "__main__":
    main(*sys.argv[1:])
