"""Corpora to adapt to: what is drawn, what a line lets through, how it is spelt."""

import numpy as np
import pytest
import soundfile
import torch
from corpora import (
    RESPELT_CHARACTERS,
    SPELLING,
    respell,
    take,
    write_fresh_head,
    write_person,
    write_respelt,
    write_split,
)
from telephone import draw_noise, read_noise, telephone, write_telephone

import tiny
from deepspeech2 import DeepSpeech2ForCTC, DeepSpeech2Processor
from deepspeech2.data.corpora import load_corpus


def tone(hz: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(16000) / 16000).astype(np.float32)


def test_the_telephone_passes_its_band_alone():
    level = {hz: float(telephone(tone(hz))[2000:6000].std()) for hz in (100, 1000, 2500, 3800)}
    assert level[1000] == pytest.approx(0.5 / 2**0.5, rel=0.02) and level[2500] == pytest.approx(level[1000], rel=0.05)
    assert level[100] < 0.02 * level[1000] and level[3800] < 0.2 * level[1000]
    assert telephone(tone(1000)).size == 8000


def test_noise_comes_from_the_seed_and_from_the_half_of_its_split():
    """Two recordings of 4 s: the first halves hold 1 and 2, the second 3 and 4. 5 s of a half of 2 s repeat it."""
    noises = [np.repeat(np.float32([first, first + 2]), 2 * 16000) for first in (1, 2)]
    drawn = {part: {float(draw_noise(noises, 5 * 16000, seed, part)[0]) for seed in range(20)} for part in (0, 1)}
    assert drawn == {0: {1, 2}, 1: {3, 4}}
    ramp = [np.arange(8, dtype=np.float32)]
    first, again, other = (draw_noise(ramp, 6, seed, 1) for seed in (1, 1, 4))
    assert first.size == 6 and np.array_equal(first, again) and not np.array_equal(first, other)
    assert sorted(set(first)) == [4, 5, 6, 7] and np.array_equal(first[4:], first[:2])


def test_noise_is_read_from_every_recording_of_a_folder(tmp_path):
    with pytest.raises(ValueError, match="has no recordings of noise; expected files such as"):
        read_noise(tmp_path)
    (tmp_path / "README.md").write_text("kitchens")
    for name, hz in (("tap.wav", 1000), ("bike.wav", 440)):
        soundfile.write(tmp_path / name, tone(hz)[::2], 8000)
    bike, tap = read_noise(tmp_path)
    assert bike.size == tap.size == 16000
    assert np.allclose(bike[100:-100], tone(440)[100:-100], atol=0.01)


def test_minutes_are_filled_with_what_still_fits():
    clips = [(np.zeros(16000 * seconds, np.float32), {"id": str(seconds)}) for seconds in (30, 40, 20, 15, 9)]
    assert [row["id"] for _, row in take(clips, 1)] == ["30", "20", "9"]  # 59 s of 60


def test_minutes_of_a_person_are_drawn_from_what_the_test_lacks(tmp_path):
    """20 clips of 30 s, 10 of them the pool."""
    noise = np.random.default_rng(0).normal(0, 0.1, 30 * 16000).astype(np.float32)
    clips = [(noise, {"id": f"a-{number}", "text": "yes", "speaker_id": "a"}) for number in range(20)]
    ids: dict[str, set[str]] = {}
    for minutes in (1, 5):
        write_person(clips, tmp_path / str(minutes), minutes, 5, seed=3)
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
    with pytest.raises(ValueError, match=r"the person has 10\.0 minutes, all of them in the pool of 10"):
        write_person(clips, tmp_path / "all", 5, 10, seed=3)


def test_a_split_is_written_in_the_coding_of_the_line(tmp_path):
    row = {"id": "a-1", "text": "HELLO, YOU", "speaker_id": "7"}
    write_telephone({"test": [(tone(440), row)]}, tmp_path, [tone(1000)], 10)
    info = soundfile.info(tmp_path / "test" / "a-1.wav")
    assert (info.samplerate, info.subtype, info.frames) == (8000, "ULAW", 8000)
    (corpus,) = load_corpus(str(tmp_path), None, "test")
    (found,) = corpus.stream
    assert (found["id"], found["text"], found["speaker_id"]) == ("a-1", "HELLO, YOU", "7")
    heard, _ = soundfile.read(tmp_path / "test" / "a-1.wav")
    spectrum = np.abs(np.fft.rfft(heard))  # 1 Hz a bin; noise 10 dB below the speech
    assert spectrum[1000] / spectrum[440] == pytest.approx(10 ** (-10 / 20), rel=0.1)
    before = (tmp_path / "test" / "a-1.wav").read_bytes()
    write_split(tmp_path, "test", [(tone(880), row)])  # what is there stays
    assert (tmp_path / "test" / "a-1.wav").read_bytes() == before


def test_the_other_spelling(tmp_path):
    assert respell("THE SHEEP SINGS A QUICK TAX HYMN") == "þe šép siŋs a kvik taks hymn"
    assert respell("FOOTSHAKE") == "fůtšake"  # pairs are taken as letters stand, whatever they sound like
    assert set("".join(SPELLING.values())) <= set(RESPELT_CHARACTERS) and "x" not in RESPELT_CHARACTERS
    write_respelt({"train": [(tone(440), {"id": "a-1", "text": "SHE", "speaker_id": "7"})]}, tmp_path)
    (corpus,) = load_corpus(str(tmp_path), None, "train")
    assert [row["text"] for row in corpus.stream] == ["še"]


def test_a_fresh_head_knows_nothing_and_all_else_is_kept(tmp_path):
    model, processor = tiny.new_model()
    model.save_pretrained(tmp_path / "old")
    processor.save_pretrained(tmp_path / "old")
    write_fresh_head(str(tmp_path / "old"), " abcš", tmp_path / "new")
    new = DeepSpeech2ForCTC.from_pretrained(tmp_path / "new")
    assert DeepSpeech2Processor.from_pretrained(tmp_path / "new").tokenizer.convert_tokens_to_ids("š") is not None
    assert new.ctc_head.weight.shape == (6, 16) and new.config.vocab_size == 6  # with the blank
    old_rows = model.ctc_head.weight.detach()
    assert torch.cdist(new.ctc_head.weight.detach(), old_rows).min() > 0.1  # no row is one of the old head's
    for name, value in new.state_dict().items():
        assert name.startswith("ctc_head") or torch.equal(value, model.state_dict()[name]), name
