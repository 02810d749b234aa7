"""benchmarks/transcription.py: the ways hear the same, and all clips are in some batch."""

import numpy as np
import pytest
import torch
import transcription


@pytest.fixture
def exported(tmp_path, monkeypatch):
    monkeypatch.setattr(transcription, "OUTPUT", tmp_path / "transcription.md")
    transcription.export("2x24")


def test_the_ways_write_the_same(exported):
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(count, dtype=np.float32) * 0.1 for count in (24_000, 16_000)]
    with torch.inference_mode():
        plain = transcription.plain_way("2x24")(clips)
        this, onnx = (transcription.this_way("2x24", engine)(clips) for engine in ("this", "ONNX fp32"))
    assert any(plain)
    assert this == onnx
    # The vocabularies have their own order: what is compared is where symbols change, not their names.
    assert [len(text) for text in plain] == [len(text) for text in this]


def test_repeats_and_blanks_go():
    assert transcription.plain_text(torch.tensor([0, 2, 2, 0, 2, 3, 3, 0])) == "AAB"


@pytest.mark.parametrize("way", transcription.WAYS)
def test_every_clip_is_in_a_batch(way):
    batches = transcription.cut([float(value) for value in range(1, 18)], way)
    assert sorted(place for batch in batches for place in batch) == list(range(17))
    assert max(map(len, batches)) == (1 if way.endswith("one") else 8)


@pytest.mark.parametrize("way", ["this, batches of 8", "ONNX int8, one by one"])
def test_a_measurement_writes_every_text(way, exported):
    result = transcription.measure("2x24", way, seed=1, num_clips=5)
    assert result["texts"] == 5 and result["audio_s_per_cpu_s"] > 0
