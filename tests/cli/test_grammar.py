"""`deepspeech2 grammar` prints counts, ambiguities, unwritable words and examples."""

import pytest

import tiny
from deepspeech2.cli.main import main
from deepspeech2.data.grammars.reading import read_grammar
from deepspeech2.inference.voice_commands.automaton import unwritable_words


def test_it_prints_what_it_finds(tmp_path, capsys):
    path = tmp_path / "g.yaml"
    path.write_text("{commands: {one: '[a] {s}', two: 'a b'}, slots: {s: [b, c]}}", encoding="utf-8")
    assert main(["grammar", str(path), "--examples", "2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == [
        "4 sentences of 1 to 2 words",
        "  one: 4",
        "  two: 1",
        "ambiguities, the shortest sentence of each kind:",
        "  'a b': one(s 'b') or two()",
    ]
    assert lines[5] == "examples:" and len(lines) == 8 and any("-> two()" in line for line in lines[6:])


def test_it_names_words_that_a_model_cannot_write(tmp_path, capsys):
    model, processor = tiny.new_model()
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    path = tmp_path / "g.yaml"
    path.write_text("{commands: {one: 'a {s}'}, parts: {p: x}, slots: {s: ['(b|ü) c', '{p} b']}}", encoding="utf-8")
    assert unwritable_words(read_grammar(path), processor) == ["'ü' ('ü')", "'x' ('x')"]
    assert main(["grammar", str(path), "--model", str(tmp_path / "model"), "--examples", "0"]) == 1
    printed = capsys.readouterr().out
    assert "ambiguities, the shortest sentence of each kind: none\n" in printed
    assert printed.endswith(f"words that {tmp_path / 'model'} cannot write:\n  'ü' ('ü')\n  'x' ('x')\n")


def test_a_sound_grammar_ends_with_0(tmp_path, capsys):
    path = tmp_path / "g.yaml"
    path.write_text("commands: {one: a b}", encoding="utf-8")
    assert main(["grammar", str(path)]) == 0
    assert capsys.readouterr().out.endswith("examples:\n  a b -> one()\n")
    with pytest.raises(ValueError, match="--examples is -1, --seed 0; expected 0 or more"):
        main(["grammar", str(path), "--examples", "-1"])
