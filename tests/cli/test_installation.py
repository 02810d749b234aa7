"""The package as `pip install .` leaves it in an empty environment, without extras and without the repository."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from deepspeech2.cli.main import main
from deepspeech2.data.synthesis.voices import speak

pytestmark = pytest.mark.slow

INSTALLED = ("src", "pyproject.toml", "README.md", "LICENSE", "constraints.txt")


@pytest.fixture(scope="module")
def environment(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bin folder of a new environment, 1.2 GB; a CPU-minute."""
    folder = tmp_path_factory.mktemp("installation")
    (folder / "checkout").mkdir()  # a copy: setuptools builds beside the sources
    for name in INSTALLED:
        copy = shutil.copytree if (repository / name).is_dir() else shutil.copyfile
        copy(repository / name, folder / "checkout" / name)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [folder / "venv" / "bin" / "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", "constraints.txt", "."], check=True, cwd=folder / "checkout")
    shutil.rmtree(folder / "checkout")
    yield folder / "venv" / "bin"
    shutil.rmtree(folder / "venv")


def test_a_fresh_installation_transcribes(environment: Path, repository: Path, tmp_path: Path) -> None:
    """From another folder, a model that was copied there; the captions are those of the development environment."""
    model = tmp_path / "model"
    shutil.copytree(repository / "recipes" / "quickstart" / "starter", model)
    soundfile.write(tmp_path / "speech.wav", speak("turn on the light in the kitchen"), 16_000)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: str) -> subprocess.CompletedProcess:
        command = [environment / "deepspeech2", *words]
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)

    assert "deepspeech2 transcribe MODEL" in run("--help").stdout
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    done = run("transcribe", "model", "speech.wav", "film.mp4", "--output_dir", "out")
    assert "[1/2] speech.wav: " in done.stdout, done.stderr
    assert done.returncode == 1 and "film.mp4' cannot be decoded" in done.stderr and "pip install av" in done.stderr
    assert done.stderr.count("decoding is greedy, without model/decoder.json") == 1  # beam search is an extra
    words = ["transcribe", str(model), str(tmp_path / "speech.wav"), "--decoder", "greedy"]
    assert main([*words, "--output_dir", str(tmp_path / "here")]) == 0
    for kind in ("srt", "vtt", "txt"):
        written = (tmp_path / "out" / f"speech.{kind}").read_text()
        assert written == (tmp_path / "here" / f"speech.{kind}").read_text() and "kitchen" in written
    assert json.loads((tmp_path / "out" / "speech.json").read_text())["words"]
    assert not list(environment.parent.rglob("site-packages/av"))  # an extra
    templates = environment.parent.rglob("deepspeech2/evaluation/reports/templates/*")
    assert {"model_card.md", "page.html"} <= {path.name for path in templates}
