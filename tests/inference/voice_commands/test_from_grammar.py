"""A grammar becomes the first training corpus of a recipe, and its threshold is calibrated on noisy speech."""

import json
import runpy
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile

from deepspeech2.cli.main import main
from deepspeech2.cli.recognise import split_grammar
from deepspeech2.config.arguments import AugmentationArguments, CommandArguments, DataArguments, Recipe
from deepspeech2.config.arguments import RecipeTrainingArguments as Training
from deepspeech2.data.synthesis.voices import SAMPLING_RATE, speak
from deepspeech2.inference.voice_commands import from_grammar
from deepspeech2.inference.voice_commands.from_grammar import calibrate_commands, divide_mixed_up, speak_commands
from deepspeech2.inference.voice_commands.recognition import find_commands, load_recogniser, read_acceptance
from deepspeech2.inference.voice_commands.rejection import Judged
from deepspeech2.model.loading import load_model
from finetuning import finetune

ROOT = Path(__file__).resolve().parents[3]
LIGHTS = "{commands: {light: '[please] turn the light {switch} in the {room}'}, slots: {switch: ['on', 'off'], room: \
[kitchen, bedroom, garage]}}"


@pytest.fixture
def recipe(tmp_path):
    grammar = tmp_path / "my.yaml"
    grammar.write_text(LIGHTS, encoding="utf-8")
    training = Training(output_dir=str(tmp_path / "run"), use_cpu=True)
    return Recipe(commands=CommandArguments(grammar=str(grammar)), training=training)


def test_a_recipe_without_a_grammar_stays_as_it_is():
    recipe = Recipe()
    assert speak_commands(recipe) is recipe and calibrate_commands(recipe, None, None) == {}


@pytest.mark.parametrize(
    ("given", "configs", "splits"),
    [
        ({}, [], ["train"]),
        ({"dataset_name": ["a"]}, [], ["train", "train"]),
        ({"dataset_name": ["a", "b"], "dataset_config": ["clean", "-"]}, ["-", "clean", "-"], ["train"] * 3),
        ({"dataset_name": ["a"], "dataset_config": ["clean"], "train_split": ["x"]}, ["-", "clean"], ["train", "x"]),
    ],
)
def test_the_spoken_grammar_comes_before_all_other_speech(recipe, monkeypatch, given, configs, splits):
    monkeypatch.setattr(from_grammar, "speak_grammar", lambda *_, **__: Path("spoken"))
    data = speak_commands(replace(recipe, data=DataArguments(**given))).data
    assert data.dataset_name == ["spoken", *given.get("dataset_name", [])]
    assert (data.dataset_config, data.train_split) == (configs, splits)
    assert (recipe.training.folder / "grammar.yaml").read_text(encoding="utf-8") == LIGHTS


def test_a_run_that_has_begun_keeps_its_grammar(recipe, monkeypatch):
    monkeypatch.setattr(from_grammar, "speak_grammar", lambda *_, **__: Path("spoken"))
    speak_commands(recipe)
    grammar = Path(recipe.commands.grammar)
    grammar.write_text(LIGHTS.replace("garage", "hall"), encoding="utf-8")
    speak_commands(recipe)  # nothing is trained yet
    (recipe.training.folder / "checkpoint-10").mkdir()
    speak_commands(recipe)
    grammar.write_text(LIGHTS, encoding="utf-8")
    with pytest.raises(ValueError, match=r"holds a run with another grammar than .*my\.yaml"):
        speak_commands(recipe)


def test_the_threshold_is_calibrated_on_noisy_speech(recipe, monkeypatch, tmp_path):
    corpus = {"minutes_train": 0.05, "minutes_validation": 0.02, "minutes_test": 0.5, "num_proc": 1}
    corpus |= {"num_train_speakers": 1, "num_validation_speakers": 1, "num_test_speakers": 3}
    speak = from_grammar.speak_grammar
    monkeypatch.setattr(from_grammar, "speak_grammar", lambda _, grammar, **__: speak(tmp_path, grammar, **corpus))
    noisy = AugmentationArguments(noise_probability=1.0, noise_snr_db_min=20, silence_s=0.3)
    model, processor = load_model(str(ROOT / "recipes" / "quickstart" / "starter"))
    spoken = speak_commands(replace(recipe, augmentation=noisy))
    facts = calibrate_commands(spoken, model, processor)
    folder = recipe.training.folder
    written = json.loads((folder / "commands.json").read_text(encoding="utf-8"))
    assert read_acceptance(folder / "commands.json").threshold == written["threshold"] < 0
    assert facts["synthetic commands, most likely sentence is right"] in written.values()
    assert find_commands(str(folder), None, None) == (folder / "grammar.yaml", folder / "commands.json")


def test_mixed_up_words_of_the_grammar_are_near_misses(recipe):
    recogniser = load_recogniser(*load_model(str(ROOT / "recipes/quickstart/starter")), Path(recipe.commands.grammar))
    texts = ["turn the light on in the garage", "Kitchen please, the on!", "turn the radio on", "please"]
    judged = [Judged(text, text, recogniser.parse(text), recogniser.recognise(np.zeros((0, 3)))) for text in texts]
    commands_and_other, mixed_up = divide_mixed_up(recogniser, judged)
    assert [one.id for one in commands_and_other] == [texts[0], texts[2]]
    assert [one.id for one in mixed_up] == [texts[1], texts[3]]


def test_a_grammar_that_is_named_has_no_threshold_of_another(tmp_path, caplog):
    named, acceptance = tmp_path / "my.yaml", Path("my.json")
    for name in ("grammar.yaml", "commands.json"):
        (tmp_path / name).touch()
    caplog.set_level("INFO")
    assert find_commands(str(tmp_path), named, None) == (named, None)
    assert "has no commands.json for this grammar: the rejection threshold is a rough one" in caplog.text
    named.write_bytes((tmp_path / "grammar.yaml").read_bytes())  # the folder's own, by another name
    assert find_commands(str(tmp_path), named, None) == (tmp_path / "grammar.yaml", tmp_path / "commands.json")
    assert find_commands(str(tmp_path), None, acceptance) == (tmp_path / "grammar.yaml", acceptance)
    with pytest.raises(ValueError, match=r"has no grammar\.yaml; name a grammar \(\.yaml\) after the model"):
        find_commands(str(tmp_path / "nothing"), None, None)


def test_the_first_recording_may_be_in_the_place_of_the_grammar():
    wav, other, grammar = Path("a.wav"), Path("b.yaml.wav"), Path("g.YAML")
    assert split_grammar(grammar, [wav, other]) == (grammar, [wav, other])
    assert split_grammar(wav, [other]) == (None, [wav, other])
    assert split_grammar(wav, []) == (None, [wav]) and split_grammar(None, []) == (None, [])


@pytest.mark.slow
def test_a_grammar_becomes_a_folder_that_recognises_its_commands(tmp_path, monkeypatch, capsys):
    """Word for word what its user runs, but for the amounts. The second run finds all done and only scores again."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "my.yaml").write_text(LIGHTS, encoding="utf-8")
    config, output_dir = str(ROOT / "recipes" / "commands" / "from_grammar.yaml"), str(tmp_path / "run")
    small = ["--speech_minutes", "1.5", "--max_steps", "2", "--warmup_steps", "0", "--learning_rate", "1e-5"]
    small += ["--eval_strategy", "no", "--load_best_model_at_end", "false", "--use_cpu", "true"]
    words = [config, "--grammar", str(tmp_path / "my.yaml"), *small, "--output_dir", output_dir]
    monkeypatch.chdir(ROOT)
    finetune(*words)
    (corpus,) = (tmp_path / "cache" / "deepspeech2-synthetic").glob("*/README.md")
    made = corpus.stat().st_mtime_ns
    finetune(*words)
    assert corpus.stat().st_mtime_ns == made
    assert runpy.run_path(str(ROOT / "recipes" / "check_data.py"))["main"](words) == 0
    assert (tmp_path / "run" / "check" / "index.html").is_file() and corpus.stat().st_mtime_ns == made
    facts = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert "synthetic near misses, accepted" in facts
    soundfile.write(tmp_path / "a.wav", speak("turn the light on in the kitchen."), SAMPLING_RATE)
    capsys.readouterr()
    assert main(["recognise", output_dir, str(tmp_path / "a.wav"), "--json"]) == 0
    heard = json.loads(capsys.readouterr().out)
    assert (heard["best"], heard["slots"]) == ("light", {"switch": "on", "room": "kitchen"})
