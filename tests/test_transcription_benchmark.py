"""benchmarks/transcription.py: both ways hear the same, and all clips are in some batch."""

import numpy as np
import pytest
import torch
import transcription


def test_both_ways_write_the_same():
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(count, dtype=np.float32) * 0.1 for count in (24_000, 16_000)]
    with torch.inference_mode():
        plain, this = (way("2x24")(clips) for way in (transcription.plain_way, transcription.this_way))
    assert any(plain)
    # The vocabularies have their own order: what is compared is where symbols change, not their names.
    assert [len(text) for text in plain] == [len(text) for text in this]


def test_repeats_and_blanks_go():
    assert transcription.plain_text(torch.tensor([0, 2, 2, 0, 2, 3, 3, 0])) == "AAB"


@pytest.mark.parametrize("way", transcription.WAYS)
def test_every_clip_is_in_a_batch(way):
    batches = transcription.cut([float(value) for value in range(1, 18)], way)
    assert sorted(place for batch in batches for place in batch) == list(range(17))
    assert max(map(len, batches)) == (1 if way.endswith("one") else 8 if way.startswith("plain") else 7)  # 7 x 7 s


def test_a_measurement_writes_every_text():
    result = transcription.measure("1x8", transcription.WAYS[3], seed=1, num_clips=5)
    assert result["texts"] == 5 and result["rtfx"] > 0
