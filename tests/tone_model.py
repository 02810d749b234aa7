"""A model that hears the tones of tiny.py without any training: what is said is known, so is what must be heard."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

import tiny
from deepspeech2.decoding.decoder import GREEDY, Decoder
from deepspeech2.decoding.options import DecoderOptions
from deepspeech2.inference.long_form import Listener


class ToneModel:
    """
    In each frame the letter whose tone stands out most, or the space where none does. It looks at one frame at a time,
    so that its answers depend on a window by the normalisation of the features alone.
    """

    def __init__(self, model, processor) -> None:
        self.config, self.device, self._lengths = model.config, torch.device("cpu"), model.get_output_lengths
        self.name_or_path = ""
        frequencies = processor.feature_extractor.bin_frequencies_hz
        tones = {letter: hz for letter, hz in tiny.TONES_HZ.items() if hz}
        self._bins = [int(np.abs(frequencies - hz).argmin()) for hz in tones.values()]
        self._ids = [processor.encode(letter)[0] for letter in tones]
        self._space = processor.space_id

    def eval(self) -> "ToneModel":
        return self

    def to(self, device: torch.device) -> "ToneModel":
        return self

    def __call__(self, input_features: torch.Tensor, attention_mask: torch.Tensor) -> SimpleNamespace:
        features = input_features[:, :: self.config.time_stride]
        logits = torch.zeros(*features.shape[:2], self.config.vocab_size)
        logits[..., self._ids] = 12 * features[..., self._bins]
        logits[..., self._space] = 12 * 0.8
        return SimpleNamespace(logits=logits, output_lengths=self._lengths(attention_mask.sum(-1)))


def tone_model() -> tuple[ToneModel, object]:
    """The model and its processor; 20 ms frames at 8 kHz."""
    model, processor = tiny.new_model()
    return ToneModel(model, processor), processor


def tone_listener(**options) -> Listener:
    return Listener(*tone_model(), **options)


def tone_decoder(listener: Listener, options: DecoderOptions = GREEDY) -> Decoder:
    return Decoder(listener.processor, listener.frame_s, listener.first_frame_s, options)


def random_text(num_words: int, seed: int = 0, longest: int = 6) -> str:
    """Words of two letters and more, none of which is said twice in a row: those would be one tone."""
    rng = np.random.default_rng(seed)
    words = []
    for _ in range(num_words):
        steps = rng.integers(1, 3, int(rng.integers(2, longest)))
        words.append("".join("abc"[place % 3] for place in np.cumsum(steps)))
    return " ".join(words)


def write_tones(path: Path, text: str, seed: int = 0) -> Path:
    """A recording of a text, 0.12 s for each of its characters."""
    import soundfile

    soundfile.write(path, tiny.tones(text, np.random.default_rng(seed)), tiny.RATE)
    return path
