"""benchmarks/transfer.py: its corpora and its tables; the trainings themselves are its own command."""

import json

import numpy as np
import pytest
import soundfile
import transfer

from deepspeech2.corpora import load_corpus


def tone(hz: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(16000) / 16000).astype(np.float32)


def test_the_telephone_passes_its_band_alone():
    level = {hz: float(transfer.telephone(tone(hz))[2000:6000].std()) for hz in (100, 1000, 2500, 3800)}
    assert level[1000] == pytest.approx(0.5 / 2**0.5, rel=0.02) and level[2500] == pytest.approx(level[1000], rel=0.05)
    assert level[100] < 0.02 * level[1000] and level[3800] < 0.2 * level[1000]
    assert transfer.telephone(tone(1000)).size == 8000


def test_minutes_are_filled_with_what_still_fits():
    clips = [(np.zeros(16000 * seconds, np.float32), {"id": str(seconds)}) for seconds in (30, 40, 20, 15, 9)]
    assert [row["id"] for _, row in transfer.take(clips, 1)] == ["30", "20", "9"]  # 59 s of 60


def test_minutes_of_a_speaker_are_drawn_from_what_the_test_lacks(tmp_path, monkeypatch):
    """20 clips of 30 s, 10 of them the pool; another speaker's are not touched."""
    noise = np.random.default_rng(0).normal(0, 0.1, 30 * 16000).astype(np.float32)
    clips = [(noise, {"id": f"a-{number}", "text": "yes", "speaker_id": transfer.SPEAKER}) for number in range(20)]
    clips.append((noise, {"id": "b-0", "text": "no", "speaker_id": "b"}))
    monkeypatch.setattr(transfer, "clips_of", lambda mini, split: clips)
    ids: dict[str, set[str]] = {}
    for minutes in (1, 5):
        transfer.write_speaker_corpus(None, tmp_path / str(minutes), minutes, seed=3)
        for split in ("train", "test"):
            ids[f"{split} {minutes}"] = {path.stem for path in (tmp_path / str(minutes) / split).glob("*.wav")}
    assert {name: len(found) for name, found in ids.items()} == {
        "train 1": 2,
        "test 1": 10,
        "train 5": 10,
        "test 5": 10,
    }
    assert ids["test 1"] == ids["test 5"] and ids["train 1"] < ids["train 5"]
    assert ids["train 5"] | ids["test 5"] == {f"a-{number}" for number in range(20)}


def test_a_split_is_written_in_the_coding_of_the_line(tmp_path):
    row = {"id": "a-1", "text": "HELLO, YOU", "speaker_id": "7"}
    transfer.write_split(tmp_path, "test", [(tone(440)[:8000], row)], 8000, "ULAW")
    info = soundfile.info(tmp_path / "test" / "a-1.wav")
    assert (info.samplerate, info.subtype) == (8000, "ULAW")
    (corpus,) = load_corpus(str(tmp_path), None, "test")
    (found,) = corpus.stream
    assert (found["id"], found["text"], found["speaker_id"]) == ("a-1", "HELLO, YOU", "7")


def test_the_report_pools_the_seeds(tmp_path, monkeypatch, capsys):
    """Two clips of two words a run: before, none is right; after, 1, 2 and 3 of 4 are; from random weights, none."""
    monkeypatch.setattr(transfer, "OUTPUT", tmp_path)
    for task in ("commands", "telephone", *(f"speaker-{minutes}min" for minutes in transfer.SPEAKER_MINUTES)):
        for seed in (1, 2, 3):
            for stage, right in (("before fine-tuning", 0), ("after fine-tuning", seed), ("from random weights", 0)):
                words = ["yes"] * right + ["no"] * (4 - right)
                rows = [
                    {"id": f"c{clip}", "speaker_id": "ann", "duration_s": 1.0, "reference": "yes yes",
                     "hypothesis": " ".join(words[2 * clip : 2 * clip + 2])}
                    for clip in (0, 1)
                ]  # fmt: skip
                path = tmp_path / f"{task}-{seed}" / transfer.STAGES[stage] / "test.jsonl"
                path.parent.mkdir(parents=True)
                path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    transfer.write_report([1, 2, 3])
    table = (tmp_path / "transfer.md").read_text()
    assert table == capsys.readouterr().out.rstrip("\n") + "\n"
    # 1 - (1 + 2 + 3) / 12 = 50 %, of the single runs 75, 50 and 25 %. A clip is drawn with all its seeds: c0 has
    # 1 + 0 + 0 of 6 words wrong, c1 2 + 2 + 1 of 6, so that the interval is 17 to 83 %.
    assert (
        "| voice commands | 100.0 (100.0-100.0) | 50.0 (16.7-83.3; 75.0, 50.0, 25.0) | 100.0 (100.0-100.0) | 50% |"
        in table
    )
    assert (tmp_path / "transfer.png").is_file() and (tmp_path / "new_speaker.png").is_file()
