"""Write the demo page as a Space of the Hub: a folder with the app, its requirements, the package and the model."""

import importlib.metadata
import re
import shutil
from pathlib import Path

import yaml

from ..decoding.decoder import GREEDY_NAME
from ..decoding.options import DECODER_NAME, read_options, save_options
from ..model.loading import CHECKPOINT_FILES

MODEL_FILES = (*CHECKPOINT_FILES, "model*.index.json", "README.md")  # with the attribution
EXTRAS = ("captions", "decoding", "commands", "demo")
APP = '''"""The page of `deepspeech2 demo`, as a Space."""

from pathlib import Path

from deepspeech2.system.devices import set_up_cpu
from deepspeech2.inference.demo import build_page, load_demo_model, serve_space

set_up_cpu()
HERE = Path(__file__).parent
models = [load_demo_model({first})]
{second}serve_space(build_page(models))
'''


def write_space(
    folder: Path,
    model: str,
    compare: str | None = None,
    decoder: str | None = None,
    grammar: Path | None = None,
    acceptance: Path | None = None,
) -> None:
    """
    Write the folder of a Space.

    Args:
        folder: the folder, new or empty.
        model, compare: folders, whose model, decoder and card are copied, or ids on the Hub, which the app loads.
        decoder: "greedy", or another decoder.json to copy, with the language model that it names.
        grammar, acceptance: files to copy.

    Raises:
        ValueError: the folder is not empty, two files for it have the same name, or the decoder cannot be read.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{str(folder)!r} is not empty; expected a new or empty folder for the Space")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(Path(__file__).parents[1], folder / "deepspeech2", ignore=shutil.ignore_patterns("__pycache__"))
    own = [_copied(model, folder)]
    if decoder:
        own.append(f"decoder={_copied_decoder(decoder, folder)}")
    if grammar:
        own.append(f"grammar={_copied_file(grammar, folder)}")
    if acceptance:
        own.append(f"acceptance={_copied_file(acceptance, folder)}")
    second = f"models.append(load_demo_model({_copied(compare, folder)}))\n" if compare else ""
    (folder / "app.py").write_text(APP.format(first=", ".join(own), second=second), encoding="utf-8")
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements()), encoding="utf-8")
    name = Path(model).resolve().name
    facts = {
        "title": f"Speech to text with {name}",
        "sdk": "gradio",
        "sdk_version": importlib.metadata.version("gradio"),
        "python_version": "3.11",
        "app_file": "app.py",
        "models": [one for one in (model, compare) if one and not Path(one).is_dir()],
    }
    front = yaml.safe_dump({key: value for key, value in facts.items() if value}, sort_keys=False, allow_unicode=True)
    (folder / "README.md").write_text(
        f"---\n{front}---\n# Speech to text with {name}\n\nThis Space serves the page of `deepspeech2 demo`. To run it "
        "on your machine:\n\n```bash\npip install -r requirements.txt\npython app.py\n```\n",
        encoding="utf-8",
    )


def requirements() -> list[str]:
    """Return the requirements of the package and the page, pinned to the versions that are installed here."""
    names = dict.fromkeys(["gradio"])
    for line in importlib.metadata.requires("deepspeech2") or []:
        extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        if extra is None or extra[1] in EXTRAS:
            names[re.split(r"[^\w.-]", line)[0]] = None
    pins = {}
    for name in names:
        try:
            pins[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:  # an extra that is not installed is not used
            continue
    return [f"{name}=={version}" for name, version in pins.items()]


def _free(path: Path) -> Path:
    if path.exists():
        raise ValueError(f"two files or folders of the Space are called {path.name!r}; rename one of them")
    return path


def _copied(model: str, folder: Path) -> str:
    """Copy a model's folder, and return the model as an expression for app.py."""
    if not Path(model).is_dir():
        return repr(model)
    name = Path(model).resolve().name
    _free(folder / name).mkdir()
    for pattern in MODEL_FILES:
        for path in Path(model).glob(pattern):
            shutil.copyfile(path, folder / name / path.name)
    return f"str(HERE / {name!r})"


def _copied_file(path: Path, folder: Path) -> str:
    shutil.copyfile(path, _free(folder / path.name))
    return f"HERE / {path.name!r}"


def _copied_decoder(decoder: str, folder: Path) -> str:
    if decoder == GREEDY_NAME:
        return repr(decoder)
    options = read_options(Path(decoder))
    _free(folder / DECODER_NAME)
    if options.language_model:
        _free(folder / Path(options.language_model).name)
    return f"HERE / {save_options(options, folder).name!r}"
