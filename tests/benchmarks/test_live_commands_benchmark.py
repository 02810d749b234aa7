"""benchmarks/live_commands.py: of a stream whose utterances are known, what is found, cut and missed is counted."""

from types import SimpleNamespace

import live_commands
import numpy as np
import pytest

from deepspeech2.inference.voice_commands.listening import TimedCommand
from deepspeech2.inference.voice_commands.recognition import Command

RATE = 8000


def test_clips_are_joined_with_pauses() -> None:
    clip = np.concatenate([np.zeros(800), 0.3 * np.ones(4000), np.zeros(1600)]).astype(np.float32)
    samples, spans = live_commands.join([clip, clip], RATE)
    for start_s, end_s in spans:
        assert end_s - start_s == pytest.approx(0.5, abs=0.03)
        assert np.abs(samples[round((start_s + 0.05) * RATE) : round((end_s - 0.05) * RATE)]).min() > 0.29
    assert 0.8 <= spans[1][0] - spans[0][1] - 0.3 <= 2.6
    assert len(samples) / RATE == pytest.approx(spans[1][1] + 0.2 + 2.0, abs=0.03)


def test_what_was_heard_is_held_against_what_was_said() -> None:
    def heard(start_s: float, end_s: float, name: str | None, latency_s: float = 1.0) -> TimedCommand:
        return TimedCommand(
            Command(name, "light", "on", {"room": "hall"}, -1.0, 0.9, 0.0, 0.0), start_s, end_s, latency_s
        )

    recogniser = SimpleNamespace(parse=lambda text: ("light", {"room": text}) if text != "weather" else None)
    spans = [(1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0), (9.0, 10.0)]
    texts = ["hall", "hall", "kitchen", "weather", "hall"]
    found = live_commands.compare(
        [
            heard(1.1, 1.9, "light"),  # right, known at 2.9 s
            heard(3.0, 3.4, "light"),
            heard(3.6, 4.2, "light", 1.8),  # the same utterance, cut; known at 6.0 s
            heard(5.0, 7.5, None),  # two utterances as one
            heard(11.0, 11.1, None),  # of nobody
        ],
        spans,
        texts,
        recogniser,
    )
    assert {name: found[name] for name in list(found)[:6]} == {
        "utterances": 5,
        "found as one": 3,
        "cut": 1,
        "missed": 1,
        "joined with another": 1,
        "recognised where nobody spoke": 1,
    }
    assert (found["commands"], found["of them likeliest is right"], found["understood"]) == (4, 1, 1)
    assert found["others accepted"] == 0
    # 2.9 - 2, 6.0 - 4, 8.5 - 6 and 8.5 - 8
    assert found["ms from the end of speech, median"] == 1450
    assert found["ms from the end of speech, longest"] == 2500
