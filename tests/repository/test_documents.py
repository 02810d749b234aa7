"""The commands in the documents: each is taken by the program it calls, and those that can run here do."""

import ast
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from deepspeech2.cli.main import COMMANDS, make_parser
from deepspeech2.config.parser import parse_recipe

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.py") if "def main(" in path.read_text(encoding="utf-8"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"), *(ROOT / "recipes").rglob("*.md")]
CONSOLE = sorted((ROOT / "src" / "deepspeech2" / "cli").glob("*.py"))
CALLED = re.compile(rf"recipes/[\w/]+\.py|(?:^|-m )deepspeech2 (?:{'|'.join(COMMANDS)})")


def commands(text: str) -> list[str]:
    """Those that call a recipe or a command of `deepspeech2`: lines, and words of a sentence that have arguments."""
    text = re.sub(r"\\\n\s*#?\s*", " ", text)
    found = re.findall(r"`((?:accelerate launch|python|deepspeech2) [^`\n]*)`", text)
    found = [command for command in found if not re.fullmatch(CALLED.pattern, command.removeprefix("python "))]
    found += re.findall(r"^#? *((?:accelerate launch|python|deepspeech2) .*)$", text, flags=re.MULTILINE)
    return [command for command in found if CALLED.search(command) and "--help" not in command]


def all_commands() -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in (*DOCUMENTS, *(ROOT / "recipes").rglob("*.yaml"))]
    texts += [ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for path in (*RECIPES, *CONSOLE)]
    return sorted({command for text in texts for command in commands(text)})


ALL = all_commands()


def taken_apart(command: str) -> tuple[Path, list[str]]:
    """The recipe or the module that a command calls, and its arguments."""
    words = shlex.split(command, comments=True)
    if "deepspeech2" in words:
        place = words.index("deepspeech2") + 1
        return CONSOLE[0].with_name(f"{words[place]}.py"), words[place:]
    place = next(index for index, word in enumerate(words) if re.fullmatch(r"recipes/[\w/]+\.py", word))
    return ROOT / words[place], words[place + 1 :]


def test_there_are_commands_for_every_recipe() -> None:
    assert len(ALL) >= 10
    console = {CONSOLE[0].with_name(f"{name}.py") for name in COMMANDS}
    assert {taken_apart(command)[0] for command in ALL} == {*RECIPES, *console}


@pytest.mark.parametrize("command", ALL)
def test_a_command_is_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, words = taken_apart(command)
    monkeypatch.chdir(ROOT)
    if recipe in CONSOLE:
        make_parser().parse_args(words)
        return
    if recipe.name not in ("finetune.py", "check_data.py"):
        runpy.run_path(str(recipe))["make_parser"]().parse_args(words)
        return
    config = Path(words[0]) if words and words[0].endswith(".yaml") else ROOT / "recipes" / "quickstart" / "config.yaml"
    on_gpus = "bf16: true" in config.read_text(encoding="utf-8")
    parse_recipe([*words, *(["--bf16", "false"] if on_gpus else [])], config)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the splits of librispeech_mini, in tones; no recording is in two of them."""
    folder = tmp_path_factory.mktemp("documents")
    for seed, split in enumerate(("clean/train.100", "clean/validation", "other/test")):
        name = split.replace("/", "-")
        tiny.write_parquet(tiny.write_corpus(folder / name, name, 12, seed), folder / "FOLDER" / split)
    return folder / "FOLDER"


@pytest.mark.slow
@pytest.mark.parametrize(
    "document, part, more",
    [
        ("recipes/finetune.py", "mini.yaml", ["--max_steps", "2", "--eval_steps", "2", "--save_steps", "2"]),
        ("README.md", "score.py", []),
    ],
)
def test_a_command_runs(document: str, part: str, more: list[str], folder: Path, tmp_path: Path) -> None:
    """Word for word but for the placeholders; `make quickstart` runs the command without arguments."""
    text = (ROOT / document).read_text(encoding="utf-8")
    command = next(one for one in commands(text) if part in one and "FOLDER" in one)
    command = command.replace("FOLDER", str(folder)).replace("MODEL", "recipes/quickstart/starter")
    words = [*shlex.split(command), *more, "--output_dir", str(tmp_path)]
    words[0] = str(Path(sys.executable).with_name(words[0]))
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "Report: " in done.stdout
