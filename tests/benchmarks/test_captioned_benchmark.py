"""benchmarks/captioned.py: of speech heard without fault, right cues are kept with their words, wrong ones not."""

from pathlib import Path

import captioned
import numpy as np

import tiny
from tone_model import random_text, tone_listener


def test_right_cues_are_kept_and_wrong_ones_are_not(tmp_path: Path) -> None:
    """Two recordings of 3 texts of 30 words: some 10 cues each, of which number 5 is wrong."""
    texts = [random_text(30, seed, longest=8) for seed in range(6)]
    clips = [tiny.tones(f"{text} ", np.random.default_rng(0)).astype(np.float32) for text in texts]
    figures = captioned.measure(tone_listener(), clips, texts, tmp_path / "out", together=3)
    assert figures["right ones kept"] == 1.0 and figures["wrong ones kept"] == 0.0
    assert figures["utterances"] == figures["with just the words"] > 5
    assert figures["words substitutions"] == figures["words deletions"] == figures["words insertions"] == 0
    assert 135 <= figures["words"] < 180  # of 180, without those of every tenth cue
    assert "low_score" in figures["kept"]
