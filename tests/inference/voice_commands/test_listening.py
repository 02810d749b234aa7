"""Commands out of a stream, end to end: a model that hears tones, a grammar of its letters, pauses between."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import tiny
from deepspeech2.cli.main import main
from deepspeech2.data.grammars.reading import read_grammar
from deepspeech2.inference.voice_commands.listening import CommandListener, file_pieces, microphone_pieces
from deepspeech2.inference.voice_commands.recognition import CommandRecogniser
from deepspeech2.inference.voice_commands.utterances import recognise_recording
from streaming_models import FIXED, streaming_model
from tone_model import tone_listener

GRAMMAR = """
commands:
  switch: "{which}"
  all: cba
slots:
  which: {ab: first, ac: second}
"""
SAID = ["ab", "cba", "ac"]


class Tones:
    """Stands for a stream: of each 0.1 s of sound it hears the letter whose tone it is."""

    sampling_rate = tiny.RATE

    def __init__(self) -> None:
        self.waiting = np.zeros(0, np.float32)

    def push(self, samples: np.ndarray) -> torch.Tensor:
        self.waiting = np.concatenate([self.waiting, samples])
        count = len(self.waiting) // 800
        frames, self.waiting = self.waiting[: count * 800].reshape(count, 800), self.waiting[count * 800 :]
        heard = np.abs(np.fft.rfft(frames, axis=1)).argmax(1) * tiny.RATE / 800
        loud = np.abs(frames).max(1, initial=0.0) > 0.05
        ids = [2 + [400, 900, 1800].index(int(hz)) if so else 0 for hz, so in zip(heard, loud, strict=True)]
        return torch.log(0.001 + torch.eye(5)[ids])

    def finish(self) -> torch.Tensor:
        return torch.zeros(0, 5)


def speech() -> np.ndarray:
    """1 s of pause before each command and 2 s at the end; a letter lasts 0.1 s, and so does the space after it."""
    time_s, rng = np.arange(800) / tiny.RATE, np.random.default_rng(0)
    parts = []
    for text in SAID:
        parts.append(np.zeros(8000))
        for letter in text:
            parts += [0.3 * np.sin(2 * np.pi * tiny.TONES_HZ[letter] * time_s), np.zeros(800)]
    samples = np.concatenate([*parts, np.zeros(16000)])
    return (samples + 1e-3 * rng.standard_normal(len(samples))).astype(np.float32)


@pytest.fixture(scope="module")
def grammar(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("grammar") / "grammar.yaml"
    path.write_text(GRAMMAR, encoding="utf-8")
    return path


def test_each_command_is_heard_where_it_is(grammar: Path, tmp_path: Path) -> None:
    recogniser = CommandRecogniser(read_grammar(grammar), tiny.new_model()[1], 0.1, 0.05)
    listener = CommandListener(Tones(), recogniser, silence_s=0.5)
    soundfile.write(tmp_path / "speech.flac", speech(), tiny.RATE)
    heard = list(listener.listen(file_pieces(tmp_path / "speech.flac", tiny.RATE, 0.07)))
    assert [one.command.name for one in heard] == ["switch", "all", "switch"]
    assert [dict(one.command.slots) for one in heard] == [{"which": "first"}, {}, {"which": "second"}]
    # 1 s, and 0.2 s a letter but for the pause behind the last one
    assert [(one.start_s, one.end_s) for one in heard] == [
        (pytest.approx(1.0), pytest.approx(1.3)),
        (pytest.approx(2.4), pytest.approx(2.9)),
        (pytest.approx(4.0), pytest.approx(4.3)),
    ]
    for one in heard:  # the pause, the rest of the piece, and the computing
        assert one.latency_s >= 0.5
        assert one.to_dict()["accepted"] and one.to_dict()["start_s"] == round(one.start_s, 3)
    assert listener.audio_s == pytest.approx(len(speech()) / tiny.RATE)
    assert listener.real_time_factor == pytest.approx(listener.compute_s / listener.audio_s)


def test_a_second_stream_is_heard_and_counted_from_its_start(grammar: Path) -> None:
    recogniser = CommandRecogniser(read_grammar(grammar), tiny.new_model()[1], 0.1, 0.05)
    listener = CommandListener(Tones(), recogniser)
    first, second = (list(listener.listen([speech()])) for _ in range(2))
    assert [(one.start_s, one.end_s) for one in second] == [(one.start_s, one.end_s) for one in first]
    assert listener.audio_s == pytest.approx(len(speech()) / tiny.RATE)


def test_what_is_said_last_is_heard_though_no_pause_follows(grammar: Path) -> None:
    recogniser = CommandRecogniser(read_grammar(grammar), tiny.new_model()[1], 0.1, 0.05)
    listener = CommandListener(Tones(), recogniser)
    heard = list(listener.listen([speech()[: 8000 + 2400]]))
    assert [str(one.command.slots["which"]) for one in heard] == ["first"]


def test_a_file_comes_whole_and_no_faster_than_it_was_spoken(tmp_path: Path, monkeypatch) -> None:
    soundfile.write(tmp_path / "speech.wav", speech(), tiny.RATE, subtype="FLOAT")
    slept, now = [], [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda pause_s: (slept.append(pause_s), now.__setitem__(0, now[0] + pause_s)))
    pieces = list(file_pieces(tmp_path / "speech.wav", tiny.RATE, 0.25, realtime=True))
    np.testing.assert_allclose(np.concatenate(pieces), speech(), atol=1e-6)
    assert {len(piece) for piece in pieces[:-1]} == {2000}
    assert sum(slept) == pytest.approx(len(speech()) / tiny.RATE)


class Microphone:
    """sounddevice with one device, which takes some settings, records a tone and is gone after ten pieces."""

    TONE_HZ = 440

    class PortAudioError(Exception):
        pass

    def __init__(self, rates: tuple[int, ...], channels: tuple[int, ...]) -> None:
        self.rates, self.channels = rates, channels

    def check_input_settings(self, channels: int, dtype: str, samplerate: int) -> None:
        if not self.rates:
            raise self.PortAudioError("Error querying device -1")
        if samplerate not in self.rates or channels not in self.channels or dtype != "float32":
            raise self.PortAudioError("Invalid sample rate")

    def query_devices(self, kind: str) -> dict:
        if not self.rates:
            raise self.PortAudioError("Error querying device -1")
        return {"default_samplerate": float(self.rates[0]), "max_input_channels": max(self.channels)}

    def InputStream(self, rate: int, size: int, channels: int, dtype: str) -> "Microphone":
        self.check_input_settings(channels, dtype, rate)
        self.rate, self.opened, self.reads = rate, channels, 0
        return self

    def __enter__(self) -> "Microphone":
        return self

    def __exit__(self, *_) -> None:
        pass

    def read(self, size: int):
        self.reads += 1
        if self.reads > 10:
            raise self.PortAudioError("Device unavailable")
        time_s = np.arange((self.reads - 1) * size, self.reads * size) / self.rate
        tone = 0.5 * np.sin(2 * np.pi * self.TONE_HZ * time_s).astype(np.float32)
        return np.stack([tone, *[np.zeros_like(tone)] * (self.opened - 1)], axis=1), self.reads == 3


@pytest.mark.parametrize(
    ("rates", "channels"),
    [((8000, 44100), (1, 2)), ((44100, 48000), (1, 2)), ((48000,), (2,)), ((8000,), (2,)), ((96000,), (8,))],
)
def test_a_microphone_of_any_rate_and_channels_gives_what_is_heard_at_the_rate_of_the_model(
    rates, channels, monkeypatch, caplog
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone(rates, channels))
    pieces = microphone_pieces(8000, 0.1)
    heard = np.concatenate([next(pieces) for _ in range(10)])
    assert heard.dtype == np.float32 and 0.8 * 8000 <= heard.size <= 8000  # the resampler holds some back
    expected = 0.5 * np.sin(2 * np.pi * Microphone.TONE_HZ * np.arange(heard.size) / 8000)
    np.testing.assert_allclose(heard[400:], expected[400:], atol=0.01)
    assert caplog.text.count("some audio is lost") == 1
    with pytest.raises(ValueError, match="the microphone cannot record: Device unavailable; python -m sounddevice"):
        next(pieces)


def test_no_microphone_is_said(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", Microphone((), ()))
    with pytest.raises(ValueError, match="the microphone cannot record: Error querying device -1; python -m"):
        next(microphone_pieces(8000, 0.1))


def test_without_sounddevice_a_microphone_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ImportError, match="pip install sounddevice, and on Debian or Ubuntu apt install libportaudio2"):
        next(microphone_pieces(8000, 0.1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model of random weights, 2 s of noise."""
    folder = tmp_path_factory.mktemp("listen")
    torch.manual_seed(0)
    model, processor = streaming_model(FIXED)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    soundfile.write(folder / "noise.wav", noise, tiny.RATE)
    return folder


def test_the_command_listens_to_a_file(folder: Path, grammar: Path, capsys) -> None:
    words = ["listen", str(folder), str(grammar)]
    assert main([*words, str(folder / "noise.wav"), "--chunk_ms", "30", "--device", "cpu", "--cpu_threads", "1"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert "utterances in 2.0 s" in last and last.endswith("on 1 CPU thread")
    assert main([*words, str(folder / "noise.wav"), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines  # what noise is to these weights begins some utterance
    for line in lines:
        assert {"name", "slots", "start_s", "latency_s"} <= set(json.loads(line))
    with pytest.raises(SystemExit):
        main([*words, "--microphone", "noise.wav"])


def test_silence_around_a_recording_changes_its_times_alone(tmp_path: Path) -> None:
    (tmp_path / "grammar.yaml").write_text(GRAMMAR)
    listener = tone_listener()
    grammar = read_grammar(tmp_path / "grammar.yaml")
    recogniser = CommandRecogniser(grammar, listener.processor, listener.frame_s, listener.first_frame_s)
    said = tiny.tones("ac", np.random.default_rng(0))
    heard = {}
    for before_s, after_s in ((0.0, 0.0), (6.0, 3.0)):
        silence = (np.zeros(round(seconds * tiny.RATE), said.dtype) for seconds in (before_s, after_s))
        soundfile.write(tmp_path / "command.wav", np.concatenate([next(silence), said, next(silence)]), tiny.RATE)
        heard[before_s] = recognise_recording(listener, recogniser, tmp_path / "command.wav")
    alone, around = heard[0.0], heard[6.0]
    assert around.name == alone.name == "switch" and around.slots == alone.slots == {"which": "second"}
    assert around.start_s == pytest.approx(alone.start_s + 6, abs=0.06)
    assert around.end_s - around.start_s == pytest.approx(alone.end_s - alone.start_s, abs=0.06)
    assert recogniser.trims


def test_an_empty_recording_is_no_command(tmp_path: Path) -> None:
    (tmp_path / "grammar.yaml").write_text(GRAMMAR)
    listener = tone_listener()
    grammar = read_grammar(tmp_path / "grammar.yaml")
    recogniser = CommandRecogniser(grammar, listener.processor, listener.frame_s, listener.first_frame_s)
    soundfile.write(tmp_path / "silent.wav", np.zeros(tiny.RATE // 10), tiny.RATE)
    assert not recognise_recording(listener, recogniser, tmp_path / "silent.wav").accepted
