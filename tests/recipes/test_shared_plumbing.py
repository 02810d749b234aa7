"""What the recipes that score and prepare share: options, the device, and the processes of `accelerate launch`."""

import csv
import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import forked
import tiny
from deepspeech2.decoding.language_model import train_language_model
from deepspeech2.system import devices

ROOT = Path(__file__).resolve().parents[2]
RECIPES = [
    "score",
    "tune_decoder",
    "calibrate",
    "interpolate",
    "pseudo_label",
    "train_lm",
    "synthesize",
    "commands/calibrate",
    "captions/segment",
    "adaptation/prepare",
    "starter/publish",
]
DEFAULTS = {
    "--audio_column": "audio",
    "--batch_seconds": 60.0,
    "--cpu_threads": 0,
    "--dataset_config": None,
    "--decoder": None,
    "--device": "auto",
    "--held_out_share": 0.0,
    "--num_workers": 0,
    "--text_column": "text",
    "--train_split": "train",
}
BEFORE = {"--processes", "--decode_processes", "--num_proc", "--out", "--lexicon"}


def recipe(name: str) -> dict:
    return runpy.run_path(str(ROOT / "recipes" / f"{name}.py"))


@pytest.mark.parametrize("name", RECIPES)
def test_an_option_has_the_same_default_everywhere_and_the_folder_comes_last(name: str) -> None:
    parser = recipe(name)["make_parser"]()
    options = {action.option_strings[-1]: action.default for action in parser._actions if action.option_strings}
    assert not BEFORE & set(options)
    for option in DEFAULTS.keys() & options.keys():
        assert options[option] == DEFAULTS[option], option
    assert [option for option in options if "output" in option] == [list(options)[-1]]
    assert parser.prog == f"recipes/{name}.py"
    shown = parser.format_help().partition("\noutput:\n")[2].split()
    assert [word for word in shown if word.startswith("--output")] == [word for word in shown if word[:2] == "--"][:1]
    titles = {
        action.option_strings[-1]: group.title
        for group in parser._action_groups
        for action in group._group_actions
        if action.option_strings
    }
    for option in ("--device", "--cpu_threads", "--batch_seconds", "--num_workers"):
        assert titles.get(option, "compute") == "compute", option


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """start/ and tuned/, models of random weights; u.csv, 14 recordings; lm.arpa; grammar.yaml; talk.wav and .srt."""
    folder = tmp_path_factory.mktemp("plumbing")
    for seed, name in enumerate(("start", "tuned")):
        torch.manual_seed(seed)
        model, processor = tiny.new_model()
        with torch.no_grad():
            model.ctc_head.weight *= torch.tensor([0.0, 1, 3, 3, 3])[:, None]  # letters, and hardly a blank
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    manifest = tiny.write_corpus(folder, "u", 14)
    train_language_model(["ab abc", "a bc"], processor, 2, folder / "lm.arpa")
    (folder / "grammar.yaml").write_text("{commands: {x: 'a {s}'}, slots: {s: [b, c, ab]}}")
    (folder / "talk.wav").write_bytes((manifest.parent / "u0.wav").read_bytes())
    (folder / "talk.srt").write_text("1\n00:00:00,000 --> 00:00:00,500\nab\n")
    return folder


def words_of(name: str, folder: Path, output: Path) -> list[str]:
    """A command of a recipe on the CPU, in batches of two or three recordings."""
    model, speech = str(folder / "start"), ["--dataset_name", str(folder / "u.csv"), "--batch_seconds", "2"]
    words = {
        "score": [model, *speech],
        "tune_decoder": [model, str(folder / "lm.arpa"), *speech, "--num_workers", "1"],
        "calibrate": [model, *speech],
        "interpolate": [model, str(folder / "tuned"), *speech, "--target", "test", "--source", "other"],
        "pseudo_label": [model, *speech, "--min_confidence", "0"],
        "commands/calibrate": [model, str(folder / "grammar.yaml"), *speech],
        "captions/segment": [model, str(folder / "talk.wav")],
    }[name]
    return [*words, "--output_file" if name == "pseudo_label" else "--output_dir", str(output)]


@pytest.mark.parametrize(
    "name",
    ["score", "tune_decoder", "calibrate", "interpolate", "pseudo_label", "commands/calibrate", "captions/segment"],
)
def test_the_model_and_its_batches_go_to_the_device(name, folder, tmp_path, monkeypatch) -> None:
    """On the device `meta` a model has shapes and no numbers: the first that is asked for is an error of torch's."""
    asked = []

    def choose_device(named: str) -> torch.device:
        asked.append(named)
        return torch.device("meta")

    monkeypatch.setattr(devices, "choose_device", choose_device)
    with pytest.raises((NotImplementedError, RuntimeError), match=r"[Mm]eta\b"):
        recipe(name)["main"]([*words_of(name, folder, tmp_path / "out"), "--device", "cuda:7"])
    assert asked == ["cuda:7"]


@pytest.fixture(scope="module")
def launched(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Path]]:
    """Runs a recipe in one process and in two; the folders of what they have written, with what they print."""

    def launch(name: str) -> list[Path]:
        folders = []
        for count in (1, 2):
            out = tmp_path_factory.mktemp(f"{name}-{count}")
            words = [f"recipes/{name}.py", *words_of(name, folder, out / "labels.csv" if "label" in name else out)]
            if count == 2:
                config = str(ROOT / "accelerate_configs" / "cpu_ddp.yaml")
                words = ["accelerate", "launch", "--config_file", config, *words]
            else:
                words = ["python", *words]
            done = forked.run([*words, "--device", "cpu", "--cpu_threads", "1"], cwd=ROOT)
            assert done.returncode == 0, done.stderr
            (out / "printed.txt").write_text(done.stdout.replace(str(out), "OUT"))
            folders.append(out)
        return folders

    return launch


@pytest.mark.slow
def test_two_processes_label_each_utterance_once(launched) -> None:
    one, two = launched("pseudo_label")
    with (two / "labels.csv").open(encoding="utf-8") as file:
        assert [row["id"] for row in csv.DictReader(file)] == sorted(f"u{index}" for index in range(14))
    assert (two / "labels.csv").read_bytes() == (one / "labels.csv").read_bytes()
    assert (two / "printed.txt").read_text() == (one / "printed.txt").read_text() != ""


@pytest.mark.slow
def test_two_processes_score_each_utterance_once(launched) -> None:
    """The utterances of one batch after those of another, as the processes take them in turn."""
    one, two = launched("score")
    lines = [sorted((place / "utterances.jsonl").read_text().splitlines()) for place in (one, two)]
    assert lines[0] == lines[1] and len(lines[0]) == 14
    scores = [json.loads((place / "results.json").read_text())["scores"] for place in (one, two)]
    assert scores[0]["wer"] == scores[1]["wer"] and scores[1]["num_utterances"] == 14


@pytest.mark.slow
def test_two_processes_interpolate_as_one(launched) -> None:
    """Five models on 14 utterances each, printed by one process; the same table and the same weights."""
    one, two = launched("interpolate")
    printed = (two / "printed.txt").read_text()
    assert printed == (one / "printed.txt").read_text() and printed.count("14 utterances") == 2 * 5
    assert (two / "model.safetensors").read_bytes() == (one / "model.safetensors").read_bytes()
    tables = [(place / "interpolation.md").read_text().replace(str(place), "OUT") for place in (one, two)]
    assert tables[0] == tables[1]
