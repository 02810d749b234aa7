"""
Recipes: YAML of every kind, and known values in every spelling, which must come out as they are written.

    .venv/bin/pytest tests/repository/fuzz -s
"""

import random
import string
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from deepspeech2.config.parser import parse_recipe
from recipe_files import YAMLS
from repository.fuzz.check import Case, tally
from repository.fuzz.mutations import mutated

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
ODD = [
    LAUGHS + "dataset_name: *a11\n",
    "dataset_name: &x [*x]\n",
    "model_config: &x {a: *x}\n",
    "seed: 1\nseed: 2\n",
    "model_config: {hidden_size: 1, hidden_size: 2}\n",
    "seed: !!python/object/apply:os.system ['touch /tmp/owned']\n",
    "!!python/object:os.system {}\n",
    "seed: !!python/name:os.system\n",
    "seed: !!python/module:os\n",
    "credit: !!binary x\n",
    "seed: !!int x\n",
    "seed: !!int ''\n",
    "learning_rate: !!float x\n",
    "bf16: !!bool x\n",
    "credit: !!timestamp x\n",
    "credit: 2001-99-99\n",
    "seed: !!set {a, b}\n",
    "seed: !!omap [a: 1]\n",
    "? [a, b]\n: 1\n",
    "? {a: b}\n: 1\n",
    "[" * 5000,
    "{a: " * 5000,
    "seed: " + "9" * 5000,
    "seed: 1e999\n",
    "learning_rate: .nan\n",
    "max_duration_s: .nan\nbatch_seconds: .inf\n",
    "batch_seconds: -.inf\n",
    "\t: \t",
    "\0",
    "%YAML 9.9\n---\nseed: 1\n",
    "--- 1\n--- 2\n",
    "<<: {seed: 1}\n",
    "<<: [1]\n",
    "null: 1\n",
    "1: 2\n",
    "- dataset_name\n",
    "dataset_name: [[a], {b: c}, null]\n",
    "dataset_name: synthetic\nmodel_config: [1]\n",
    "model_config: {1: 2}\n",
    "output_dir: [a]\n",
    'output_dir: "a\\0b"\n',
    "config: x.yaml\n",
    "help: true\n",
    "seed: 1_000_000_000_000_000_000_000_000\n",
    "eval_strategy: nope\n",
    "optim: nope\n",
    "fsdp: nope\n",
    "deepspeed: nope.json\n",
    "accelerator_config: nope.json\n",
    "report_to: [nope]\n",
]
VALUES = ["", "null", "[]", "{}", "-1", "1e400", ".nan", "yes", "'", "[a, {b: c}]", "*a", "&a x", "!!str 1", "0x", "~"]
# Spellings of settings that are text. What is taken has to be what is written.
SPELLINGS = [
    "0012", "12", "007", "08", "0o17", "0x1f", "0b11", "1_000", "12:30", "1:2:3", "1.10", "1.0", "1e3", "1E5", ".5",
    "5.", "+7", "-0", "2001-02-03", "2001-02-03 04:05:06", "on", "off", "yes", "No", "TRUE", "null", "~", "NaN",
    ".inf", "=", "<<", "a b", "a:b", "a#b", "a #b", "'a'", '"a"', "[a]", "{a}", "é", "０１２", "−1", "\u00a0x",
    "%a", "@a", "`a`", "!a",
]  # fmt: skip
NUMBERS = {"010": 10, "1e2": 100, "1_0": 10, "+5": 5, "5": 5, "0.5e1": 5, "5.0": 5, "0x10": 16, "1:30": 90, "0b11": 3}


def mutations(folder: Path) -> Iterator[Case]:
    rng = random.Random(4)
    recipes = [path.read_text(encoding="utf-8") for path in YAMLS]
    texts = [("odd YAML", text) for text in ODD]
    for _ in range(70):
        lines = [line for line in rng.choice(recipes).splitlines() if not line.startswith(("bf16", "tf32"))]
        for _ in range(rng.choice([1, 1, 3])):
            place = rng.randrange(len(lines))
            match rng.choice(["value", "value", "key", "drop", "double", "characters"]):
                case "value":
                    lines[place] = f"{lines[place].split(':')[0]}: {rng.choice(VALUES)}"
                case "key":
                    lines[place] = rng.choice(string.ascii_letters) + lines[place]
                case "drop":
                    lines[place] = lines[place][: rng.randrange(len(lines[place]) + 1)]
                case "double":
                    lines.insert(place, lines[place])
                case "characters":
                    own = list(lines[place])
                    own.insert(rng.randrange(len(own) + 1), rng.choice("{}[]:,&*!|>'\"%@`#\t\0\ud800é"))
                    lines[place] = "".join(own)
        texts.append(("changed YAML", "\n".join(lines)))
    contents = [(kind, text.encode("utf-8", "surrogatepass")) for kind, text in texts]
    contents += [("damaged YAML", mutated(rng.choice(recipes).encode(), rng)) for _ in range(15)]
    for index, (kind, content) in enumerate(contents):
        path = folder / f"{index}.yaml"
        path.write_bytes(content)
        yield Case(kind, f"{content[:100]!r}", partial(parsed, path))


def parsed(path: Path, said: list[str]) -> list[str]:
    recipe = parse_recipe([str(path), "--use_cpu", "true", "--bf16", "false"], path)
    assert recipe.data.dataset_name and recipe.training.output_dir
    return []


def spellings(folder: Path) -> Iterator[Case]:
    for index, written in enumerate(SPELLINGS):
        path = folder / f"text{index}.yaml"
        take = partial(text_as_written, path, written)
        yield Case("a spelling of text", written, take)
    for index, (written, value) in enumerate(NUMBERS.items()):
        path = folder / f"number{index}.yaml"
        yield Case("a spelling of a number", written, partial(number_as_meant, path, written, value))


def text_as_written(path: Path, written: str, said: list[str]) -> list[str]:
    """Comments and quotation marks are YAML's; anything else is the text itself."""
    content = f"dataset_name: x.csv\nheld_out_speakers: [{written}, other]\neval_split: held-out\ncredit: {written}\n"
    path.write_text(content, encoding="utf-8")
    data = parse_recipe([str(path)], path).data
    plain = written.partition(" #")[0].strip("'\"")
    return [] if data.held_out_speakers[0] == plain else [f"{written!r} came out as {data.held_out_speakers[0]!r}"]


def number_as_meant(path: Path, written: str, value: int, said: list[str]) -> list[str]:
    path.write_text(f"dataset_name: x.csv\nwindow_size: {written}\nbatch_seconds: 99\n", encoding="utf-8")
    found = parse_recipe([str(path)], path).data.window_size
    return [] if found == value else [f"{written!r} came out as {found}"]


@pytest.mark.parametrize("one_of", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_recipes(tmp_path, monkeypatch, one_of):
    monkeypatch.chdir(tmp_path)

    def cases() -> Iterator[Case]:
        yield from mutations(tmp_path)
        yield from spellings(tmp_path)

    tally("recipes", cases(), one_of)
    assert not Path("/tmp/owned").exists()


def test_the_recipes_are_what_is_mutated():
    """A recipe as it is parses, so that the mutations are what is refused."""
    for path in YAMLS:
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["output_dir"]
