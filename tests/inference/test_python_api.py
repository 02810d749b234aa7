"""What people import from the top level of the package."""

from pathlib import Path

import pytest

import deepspeech2
import tiny
from deepspeech2.data.audio.recordings import AudioError
from deepspeech2.decoding.decoder import GREEDY
from tone_model import random_text, tone_decoder, tone_listener, tone_model, write_tones

GRAMMAR = "commands:\n  first: ab ca\n  second: cb {letter}\nslots:\n  letter: [ac, bc]\n"


@pytest.mark.parametrize("name", deepspeech2.__all__)
def test_every_public_name_is_there_and_described(name: str, repository: Path) -> None:
    assert getattr(deepspeech2, name).__doc__
    assert name in dir(deepspeech2)
    internal = ("DeepSpeech2Model", "DeepSpeech2PreTrainedModel")
    page = (repository / "docs" / "api.md").read_text(encoding="utf-8")
    assert name in internal or f"::: deepspeech2.{name}\n" in page


def test_a_recording_of_minutes_is_transcribed(tmp_path: Path) -> None:
    said = random_text(160)
    recording = write_tones(tmp_path / "speech.wav", said)
    assert len(said) * tiny.LETTER_S > 60
    model, processor = tone_model()
    found = deepspeech2.transcribe(model, processor, recording)
    assert found.text == said and [word.text for word in found.words] == said.split()
    assert found.words[0].start_s == pytest.approx(0, abs=0.04)
    last = len(said) - len(said.split()[-1])
    assert found.words[-1].start_s == pytest.approx(last * tiny.LETTER_S, abs=0.04)
    again = deepspeech2.transcribe(model, processor, str(recording), tone_decoder(tone_listener(), GREEDY))
    assert again == found


def test_a_command_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "grammar.yaml").write_text(GRAMMAR)
    model, processor = tone_model()
    command = deepspeech2.recognise(
        model, processor, tmp_path / "grammar.yaml", write_tones(tmp_path / "command.wav", "cb bc")
    )
    assert (command.name, command.slots, command.accepted) == ("second", {"letter": "bc"}, True)
    other = deepspeech2.recognise(
        model, processor, str(tmp_path / "grammar.yaml"), write_tones(tmp_path / "other.wav", "ba ba ba ba")
    )
    assert not other.accepted


def test_a_missing_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="nowhere"):
        deepspeech2.transcribe(*tone_model(), tmp_path / "nowhere.wav")
