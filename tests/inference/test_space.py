"""A Space's folder: what is in it and what is not; tests/test_demo.py serves one."""

import os
import shutil
from pathlib import Path

import pytest
import yaml

from deepspeech2.decoding.decoder import GREEDY_NAME
from deepspeech2.decoding.options import DecoderOptions, read_options, write_options
from deepspeech2.inference.demo import load_demo_model
from deepspeech2.inference.space import requirements, write_space
from deepspeech2.inference.voice_commands.recognition import Acceptance, write_acceptance

ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "recipes" / "quickstart" / "starter"
GRAMMAR = ROOT / "recipes" / "commands" / "home.yaml"


def test_a_space_carries_what_it_needs(tmp_path):
    folder = tmp_path / "space"
    write_space(folder, str(STARTER), compare="you/model", grammar=GRAMMAR)
    front = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    assert front["sdk"] == "gradio" and front["app_file"] == "app.py" and front["models"] == ["you/model"]
    app = (folder / "app.py").read_text()
    compile(app, "app.py", "exec")
    assert (
        "load_demo_model(str(HERE / 'starter'), grammar=HERE / 'home.yaml')" in app
        and "load_demo_model('you/model')" in app
    )
    assert (folder / "deepspeech2" / "inference" / "demo.py").is_file() and (
        folder / "starter" / "model.safetensors"
    ).is_file()
    needed = dict(line.split("==") for line in requirements())
    assert {"torch", "transformers", "gradio", "av", "num2words", "soundfile"} <= needed.keys()
    assert "pytest" not in needed and needed["gradio"] == front["sdk_version"]
    with pytest.raises(ValueError, match="is not empty; expected a new or empty folder"):
        write_space(folder, str(STARTER))


def test_a_space_has_of_a_run_the_model_and_its_card_alone(tmp_path):
    run = tmp_path / "checkpoint-9"
    shutil.copytree(STARTER, run)
    for name in ("optimizer.pt", "rng_state.pth", "training_args.bin", "recipe.json", "results.json", "report.html"):
        (run / name).write_text("not for everybody")
    write_space(tmp_path / "space", str(run))
    copied = {path.name for path in (tmp_path / "space" / "checkpoint-9").iterdir()}
    assert copied == {path.name for path in STARTER.iterdir()}
    with pytest.raises(ValueError, match="two files or folders of the Space are called 'checkpoint-9'; rename one"):
        write_space(tmp_path / "other", str(run), compare=str(run))


def test_a_space_carries_what_its_decoder_names(tmp_path):
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm" / "lm.arpa").write_text("words")
    options = DecoderOptions(beam_size=10, language_model=str(tmp_path / "lm" / "lm.arpa"), alpha=0.25)
    write_options(options, tmp_path / "made" / "decoder.json")
    space = tmp_path / "space"
    write_space(space, str(STARTER), decoder=str(tmp_path / "made" / "decoder.json"))
    moved = space.rename(tmp_path / "elsewhere")
    (tmp_path / "lm" / "lm.arpa").unlink()
    read = read_options(moved / "decoder.json")
    assert read.language_model == str(moved / "lm.arpa") and read.alpha == 0.25
    assert Path(read.language_model).read_text() == "words"
    assert "decoder=HERE / 'decoder.json'" in (moved / "app.py").read_text()
    write_space(tmp_path / "greedy", str(STARTER), decoder="greedy")
    assert "starter'), decoder='greedy')" in (tmp_path / "greedy" / "app.py").read_text()


def test_commands_in_the_folder_of_the_model_need_no_option(tmp_path):
    """recipes/finetune.py --grammar leaves grammar.yaml and commands.json beside the model."""
    model, own = tmp_path / "own", Acceptance(threshold=-1.5)
    shutil.copytree(STARTER, model, copy_function=os.symlink)
    shutil.copyfile(GRAMMAR, model / "grammar.yaml")
    write_acceptance(model / "commands.json", own, {})
    write_space(tmp_path / "space", str(model))
    model_of_space = load_demo_model(str(tmp_path / "space" / "own"), GREEDY_NAME)
    assert model_of_space.recogniser and model_of_space.recogniser.acceptance == own
    assert load_demo_model(str(STARTER), GREEDY_NAME).recogniser is None
