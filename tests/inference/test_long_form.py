"""A recording of any length is heard as its parts are: no word lost, doubled or moved at a seam; hours in no memory."""

import itertools
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

import tiny
from deepspeech2 import DeepSpeech2Config
from deepspeech2.decoding.calibration import Calibration
from deepspeech2.decoding.options import DecoderOptions
from deepspeech2.inference.long_form import Cutter, Listener
from deepspeech2.inference.media import read_blocks
from deepspeech2.inference.transcription import transcribe_words
from tone_model import random_text, tone_decoder, tone_listener, tone_model


def spoken(text: str) -> np.ndarray:
    return tiny.tones(text, np.random.default_rng(0)).astype(np.float32)


def in_blocks(samples: np.ndarray, size: int = 80_000) -> list[np.ndarray]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]


@pytest.mark.parametrize(
    "text",
    [random_text(400), random_text(1, 1, longest=8) + "".join(itertools.repeat("acb", 300))],
    ids=["words", "no pause"],
)
def test_a_long_recording_gives_the_words_that_are_said(text: str) -> None:
    """
    Some 200 s of words, and 110 s of letters without one pause, where the seams lie in the midst of a tone. Each letter
    is 0.12 s of a tone, so that every word's place is known to a frame of 0.02 s.
    """
    samples, listener = spoken(text), tone_listener()
    assert len(list(Cutter(tiny.RATE, 160)(in_blocks(samples)))) >= 5
    words = transcribe_words(listener, tone_decoder(listener), in_blocks(samples))
    assert " ".join(word.text for word in words) == text
    place = 0
    for word in words:
        assert word.start_s == pytest.approx(place * tiny.LETTER_S, abs=0.03)
        assert word.end_s == pytest.approx((place + len(word.text)) * tiny.LETTER_S, abs=0.03)
        assert 0.5 < word.confidence <= 1
        place += len(word.text) + 1
    assert listener.duration_s == pytest.approx(len(text) * tiny.LETTER_S)


def test_phrases_are_what_is_heard_cut_between_words() -> None:
    """Some 100 s: cut at spaces, after 15 s at least, and nothing is lost."""
    text, listener = random_text(200), tone_listener()
    phrases = list(listener.phrases(in_blocks(spoken(text))))
    assert len(phrases) > 3
    starts = [first for first, _ in phrases]
    assert starts == [0, *np.cumsum([len(kept) for _, kept in phrases])[:-1]]
    joined = np.concatenate([kept for _, kept in phrases])
    assert np.array_equal(joined, np.concatenate([one for _, one in listener.listen(in_blocks(spoken(text)))]))
    assert all(text[int(start * listener.frame_s / tiny.LETTER_S)] == " " for start in starts[1:])


def test_a_long_stretch_of_blanks_within_a_word_is_no_pause() -> None:
    """a, twenty blanks, b, blank, space, blank, c: behind the space, in frame 24. Without it nowhere."""
    listener = tone_listener()
    a, b, c, space = (listener.processor.encode(letter)[0] for letter in "abc ")
    ids = [a, *[listener.blank] * 20, b, listener.blank, space, listener.blank, c]
    log_probs = np.eye(listener.model.config.vocab_size, dtype=np.float32)[ids]
    assert listener._longest_pause(log_probs) == 24
    assert listener._longest_pause(log_probs[:23]) == 0


def test_a_decoder_reads_what_is_heard() -> None:
    """Calibration sigmoid(2 log(p / (1 - p)) - 1) of raw confidences, and no other words or times."""
    text, listener = random_text(100), tone_listener()
    options = DecoderOptions(calibration=Calibration(slope=2.0, offset=-1.0))
    raw = transcribe_words(listener, tone_decoder(listener), in_blocks(spoken(text)))
    calibrated = transcribe_words(listener, tone_decoder(listener, options), in_blocks(spoken(text)))
    assert [word[:3] for word in raw] == [word[:3] for word in calibrated]
    for before, after in zip(raw, calibrated, strict=True):
        odds = (before.confidence / (1 - before.confidence)) ** 2 / np.e
        assert after.confidence == pytest.approx(odds / (1 + odds), rel=1e-3)


def test_words_keep_their_times_behind_a_long_silence() -> None:
    """30 words, 6 s of nothing but faint noise, the same words: each 6 s and the first part's length later."""
    text, listener = random_text(30), tone_listener()
    silence = (0.01 * np.random.default_rng(0).standard_normal(6 * tiny.RATE)).astype(np.float32)
    words = transcribe_words(listener, tone_decoder(listener), [np.concatenate([spoken(text), silence, spoken(text)])])
    assert [word.text for word in words] == 2 * text.split()
    shift_s = 6 + len(text) * tiny.LETTER_S
    for early, late in zip(words[:30], words[30:], strict=True):
        assert late.start_s - early.start_s == pytest.approx(shift_s, abs=0.03)
    assert 4.5 < listener.left_out_s < 6


def test_batches_and_single_windows_give_the_same() -> None:
    """Windows of a real, untrained model, one by one and three at once, whose padding must not matter."""
    model, processor = tiny.new_model()
    blocks = in_blocks(spoken(random_text(150)))
    alone, together = (Listener(model.eval(), processor, size).whole(blocks) for size in (1, 3))
    np.testing.assert_allclose(alone, together, atol=1e-5, rtol=0)


def test_the_whole_has_a_row_for_each_frame_and_blanks_in_silence() -> None:
    """0.6 s, 6 s of zeros, 0.6 s: 7.2 / 0.02 = 360 frames, those in the midst blank."""
    samples = np.concatenate([spoken("ab ca"), np.zeros(6 * tiny.RATE, np.float32), spoken("bac a")])
    listener = tone_listener()
    log_probs = listener.whole(in_blocks(samples))
    assert log_probs.shape == (360, listener.model.config.vocab_size)
    assert (log_probs[100:250].argmax(-1) == listener.blank).all()
    assert (log_probs[:29].argmax(-1) != listener.blank).all()


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.zeros(40_000, np.float32)], ids=["nothing", "silence"])
def test_where_nothing_is_said_nothing_is_heard(samples: np.ndarray) -> None:
    listener = tone_listener()
    assert transcribe_words(listener, tone_decoder(listener), [samples]) == []
    assert len(listener.whole([samples])) == len(samples) // 160


def test_a_clip_shorter_than_a_window_of_the_convolutions_is_heard() -> None:
    assert len(tone_listener().whole([spoken("a")[:300]])) == 2


def test_frames_of_unpadded_convolutions_begin_later() -> None:
    """Kernels of 11 frames over strides 2 and 1: (11 - 1) / 2 + 2 * (11 - 1) / 2 = 15 frames of 10 ms."""
    config = DeepSpeech2Config(
        conv_kernel_sizes=[[41, 11], [21, 11]], conv_strides=[[2, 2], [2, 1]], conv_paddings=[[20, 0], [10, 0]]
    )
    _, processor = tone_model()
    processor.feature_extractor.sampling_rate = 16_000
    listener = Listener(type("Model", (), {"config": config})(), processor)
    assert listener.first_frame_s == pytest.approx(0.15)


def test_a_file_of_an_hour_is_heard_in_little_memory(tmp_path: Path) -> None:
    """
    An hour is 115 MB of samples. The model hears 20 s at a time; of what it hears some 15 s are kept.
    """
    text = random_text(60)
    block = spoken(text + " ")
    repeats = round(3600 * tiny.RATE / len(block))
    with soundfile.SoundFile(tmp_path / "hour.flac", "w", tiny.RATE, 1) as file:
        for _ in range(repeats):
            file.write(block)
    listener = tone_listener()
    transcribe_words(listener, tone_decoder(listener), [block] * 4)  # what the first use loads does not count
    process = psutil.Process()
    before, peak = process.memory_info().rss, 0

    def watched():
        nonlocal peak
        for samples in read_blocks(tmp_path / "hour.flac", tiny.RATE):
            peak = max(peak, process.memory_info().rss)
            yield samples

    words = transcribe_words(listener, tone_decoder(listener), watched())
    assert [word.text for word in words] == text.split() * repeats
    assert listener.duration_s > 3580
    assert peak - before < 60e6
