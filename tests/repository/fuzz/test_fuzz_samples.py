"""
What a caller gives the processor in place of samples: arrays of any shape and type, lists, other objects.

    .venv/bin/pytest tests/repository/fuzz -s
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch

import tiny
from deepspeech2 import DeepSpeech2Processor
from repository.fuzz.check import Case, tally
from repository.fuzz.test_fuzz_lists import new_processor

SHAPES = [(), (0,), (1,), (2,), (79,), (800,), (0, 800), (800, 0), (2, 800), (800, 2), (9, 9), (1, 1, 800), (800, 9)]
VALUES = [0.0, 1.0, 1e-45, 1e30, -1e38, np.nan, np.inf, -np.inf]
TYPES = ["f2", "f4", "f8", ">f4", "i2", "u1", "i8", "?", "c8", "O", "U5", "S3", "M8[s]"]
TENSORS = ("f2", "f4", "f8", "i2", "u1", "i8", "?", "c8")


def odd(processor: DeepSpeech2Processor) -> Iterator[Case]:
    rng = np.random.default_rng(2)
    for _ in range(220):
        shape, value, kind = SHAPES[rng.integers(13)], VALUES[rng.integers(8)], TYPES[rng.integers(13)]
        with np.errstate(all="ignore"):
            clip = rng.standard_normal(shape)
            clip = np.where(rng.random(shape) < rng.choice([0.01, 1.0]), value, clip)
            clip = np.zeros(shape, kind) if kind in ("M8[s]", "i2", "u1", "i8") else clip.astype(kind)
        form = str(rng.choice(["array", "list", "tensor", "nested", "twice"]))
        if form == "tensor" and kind not in TENSORS:
            form = "array"
        made = given(form, clip)
        rate = [tiny.RATE, tiny.RATE, tiny.RATE, 16000, 0, -1, None][rng.integers(7)]
        yield Case(f"{form} of {kind}", f"{shape} {value} {rate}", partial(features, processor, made, rate))
    for wrong in (None, "speech.wav", b"RIFF", {}, [], [[]], [None], [[None]], object(), 3, [["a"]], {"array": [0.1]}):
        yield Case("no samples", f"{wrong!r}"[:40], partial(features, processor, wrong, tiny.RATE))


def given(form: str, clip: np.ndarray) -> object:
    match form:
        case "list":
            return clip.tolist()
        case "tensor":
            return torch.from_numpy(np.array(clip))
        case "nested":
            return [clip]
        case "twice":
            return [clip, np.ones(400, np.float32)]
    return clip


def features(processor: DeepSpeech2Processor, clips: object, rate: int | None, said: list[str]) -> list[str]:
    found = processor(clips, sampling_rate=rate, return_tensors="pt")["input_features"]
    assert torch.isfinite(found).all()
    return []


def known(processor: DeepSpeech2Processor) -> Iterator[Case]:
    """The same clip in another form gives the same features, alone and in a batch."""
    rng = np.random.default_rng(3)
    for index in range(12):
        clip = 0.3 * rng.standard_normal(int(rng.integers(400, 3000))).astype(np.float32)
        expected = processor(clip, sampling_rate=tiny.RATE, return_tensors="np")["input_features"][0]
        other = 0.3 * rng.standard_normal(4000).astype(np.float32)
        forms = {
            "list": clip.tolist(),
            "tensor": torch.from_numpy(clip),
            "double": clip.astype(np.float64),
            "other byte order": clip.astype(">f4"),
            "not contiguous": np.repeat(clip, 2)[::2],
            "read-only": np.frombuffer(clip.tobytes(), np.float32),
            "in a batch": [clip, other],
            "in a list": [clip.tolist(), other.tolist()],
        }
        for form, made in forms.items():
            yield Case(f"the same clip as {form}", str(index), partial(same_features, processor, made, expected))


def same_features(processor: DeepSpeech2Processor, made: object, expected: np.ndarray, said: list[str]) -> list[str]:
    found = processor(made, sampling_rate=tiny.RATE, return_tensors="np")
    length = int(found["attention_mask"][0].sum())
    own = found["input_features"][0][:length]
    if own.shape != expected.shape:
        return [f"{own.shape} features came of {expected.shape}"]
    worst = np.abs(own - expected).max(initial=0.0)
    return [] if worst < 1e-3 else [f"features differ by {worst:.4f}"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_samples():
    processor = new_processor()

    def cases() -> Iterator[Case]:
        yield from odd(processor)
        yield from known(processor)

    tally("samples", cases())
