"""The console command: what it answers at once, what it imports, and how it ends."""

import gc
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers import AutoConfig

from deepspeech2.cli.main import COMMANDS, console, main, make_parser
from deepspeech2.model.configuration_deepspeech2 import DeepSpeech2Config

GROUPS = {
    "transcribe": {"output", "captions", "decoding", "compute"},
    "recognise": {"compute"},
    "listen": {"speech", "compute"},
    "grammar": set(),
    "demo": {"server", "decoding", "compute"},
    "export": {"speech", "compute", "output"},
    "convert": {"output"},
}


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """Ctrl-C and the collector of garbage are pytest's again after a test."""
    before, threshold = signal.getsignal(signal.SIGINT), gc.get_threshold()
    yield
    signal.signal(signal.SIGINT, before)
    gc.set_threshold(*threshold)


def run(*words: str, **options) -> subprocess.CompletedProcess:
    """Python with these words."""
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, **options)


def test_without_a_command_it_prints_its_help(capsys: pytest.CaptureFixture) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert printed == make_parser().format_help() and "deepspeech2 transcribe MODEL talk.wav" in printed
    for name, (_, summary) in COMMANDS.items():
        assert f"  {name:<12}{summary}" in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_an_example_and_groups(name: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0 and f"\n    deepspeech2 {name} " in printed
    titles = {line[:-1] for line in printed.splitlines() if line.endswith(":") and not line.startswith(" ")}
    assert titles == {"positional arguments", "options", *GROUPS[name]}
    assert all(f"--{option}" in printed for option in ("device", "cpu_threads") if "compute" in GROUPS[name])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["transcibe", "MODEL"], "unknown command 'transcibe'; .* convert; did you mean 'transcribe'\\?"),
        (["recognize"], "did you mean 'recognise'\\?"),
        (
            ["xyz"],
            "'xyz'; expected one of transcribe, recognise, listen, grammar, demo, export, convert\n",
        ),
        (["--verbose"], r"unknown option --verbose; did you mean '--version'\?"),
    ],
)
def test_a_wrong_command_is_answered_with_the_nearest(
    words: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("words", "came"),
    [
        ([], "nothing"),
        (["home.yaml"], "nothing"),
        (["a.wav", "--microphone"], "a.wav and --microphone"),
        (["g.yaml", "a.wav", "--microphone"], "a.wav and --microphone"),
    ],
)
def test_a_command_listens_to_a_recording_or_to_a_microphone(words: list[str], came: str) -> None:
    with pytest.raises(ValueError, match=f"there is {came} to listen to; name one recording, or add --microphone"):
        main(["listen", "MODEL", *words])


def test_it_says_its_version() -> None:
    done = run("-m", "deepspeech2", "--version")
    assert done.stdout == "deepspeech2 0.1.0\n" and done.returncode == 0


@pytest.mark.parametrize("words", [["--help"], ["transcribe", "--help"], ["export", "--help"]])
def test_help_needs_no_heavy_library_and_half_a_second(words: list[str]) -> None:
    """In seconds of the CPU, the best of three: a busy machine takes longer on the clock."""
    taken_s = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run("-X", "importtime", "-m", "deepspeech2", *words)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert done.returncode == 0 and "usage: deepspeech2" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported and not {"torch", "transformers", "numpy", "accelerate"} & imported
    assert min(taken_s) < 0.5


# What the console command is: a script of its name. Its public names come before the command here.
SCRIPT = """
import sys, deepspeech2
assert not {'torch', 'transformers'} & set(sys.modules) and 'load_model' in dir(deepspeech2)
from deepspeech2 import DeepSpeech2ForCTC, load_model
from transformers import AutoConfig
print(type(AutoConfig.for_model('deepspeech2')).__name__, DeepSpeech2ForCTC.__module__, load_model.__module__)
try:
    deepspeech2.DeepSpeech3
except AttributeError as error:
    print(error)
from deepspeech2.cli.main import console
console()
"""


def test_the_command_imports_what_it_uses_when_it_uses_it(repository: Path, tmp_path: Path) -> None:
    """
    Public names, and a transcription. transformers itself imports accelerate, torch.distributed.tensor, and SciPy
    where there is one.
    """
    soundfile.write(tmp_path / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(8000), 16_000)
    program = tmp_path / "deepspeech2"
    program.write_text(SCRIPT)
    words = ("transcribe", str(repository / "recipes" / "quickstart" / "starter"), str(tmp_path / "noise.wav"))
    # A script's folder is searched before the package's: -P leaves it out, where this file has the package's name.
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = run("-P", "-X", "importtime", str(program), *words, "--decoder", "greedy", env=variables)
    assert done.returncode == 0 and (tmp_path / "noise.txt").is_file(), done.stderr
    assert done.stdout.splitlines()[:2] == [
        "DeepSpeech2Config deepspeech2.model.modeling_deepspeech2 deepspeech2.model.loading",
        "module 'deepspeech2' has no attribute 'DeepSpeech3'",
    ]
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    needless = {"datasets", "librosa", "matplotlib", "numba", "pandas", "pyarrow", "sklearn", "transformers.trainer"}
    assert "transformers.modeling_utils" in imported and not needless & imported


WATCHED = """
import importlib.abc, sys
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == 'deepspeech2.model':
            raise SystemExit('it imports the model package')
sys.meta_path.insert(0, Watch())
import deepspeech2
"""


def test_the_auto_classes_know_the_architecture_after_the_import_alone() -> None:
    """Also in a program that has the words `-m deepspeech2` for another purpose. The model package registers it."""
    assert run("-c", WATCHED, "-m", "deepspeech2").stderr == "it imports the model package\n"
    assert AutoConfig.for_model("deepspeech2").__class__ is DeepSpeech2Config


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["transcribe", "nowhere", "a.wav"],
            "deepspeech2: model_name_or_path 'nowhere' is not a model: expected a folder",
        ),
        (["transcribe", "nowhere", "a.wav", "--device", "tpu"], "deepspeech2: --device is 'tpu'; expected auto, cpu"),
        (
            ["transcribe", "nowhere", "a.wav", "b.wav", "--align", "t.txt"],
            "deepspeech2: --align takes the script of one",
        ),
        (
            ["recognise", "nowhere", "g.yaml", "a.wav", "--cpu_threads", "-1"],
            "deepspeech2: cpu_threads is -1; expected",
        ),
        (
            ["listen", "nowhere", "g.yaml", "a.wav", "--chunk_ms", "0"],
            "deepspeech2: --chunk_ms is 0.0; expected a duration above 0",
        ),
        (["demo", "nowhere", "--acceptance", "c.json"], "deepspeech2: --acceptance was given without --grammar; give"),
        (["convert", "nowhere.pth", "--output_dir", "."], "deepspeech2: '.' already exists; name a new folder"),
    ],
)
def test_what_the_user_can_mend_ends_in_one_message(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["deepspeech2", *words])
    with pytest.raises(SystemExit) as ended:
        console()
    assert str(ended.value.code).startswith(message)


def test_ctrl_c_during_an_import_ends_it_with_the_same_message(tmp_path: Path) -> None:
    """What is imported may answer it in its own way; here by going on."""
    (tmp_path / "slow.py").write_text(
        "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt:\n    pass\n"
    )
    program = (
        "import sys; sys.argv = ['deepspeech2', 'convert', 'a.pth']; from deepspeech2.cli import convert, main; "
        "convert.main = lambda args: __import__('slow'); main.console()"
    )
    done = run("-c", program, env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])})
    assert done.stderr == "deepspeech2: stopped by Ctrl-C\n" and done.returncode == 1


@pytest.mark.parametrize("flush", [True, False])
def test_a_reader_that_has_gone_is_no_fault(flush: bool) -> None:
    """As after `| head -1`: exit status 1 and not a word, whether it is found while printing or at the end."""
    program = (
        "import sys; sys.argv = ['deepspeech2']; from deepspeech2.system.command_line import run; "
        f"sys.stdin.read(); run(lambda words: print('a line', flush={flush}))"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == "" and process.wait() == 1


def test_ctrl_c_ends_it_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deepspeech2.cli.convert.main", interrupted)
    monkeypatch.setattr(sys, "argv", ["deepspeech2", "convert", "a.pth"])
    with pytest.raises(SystemExit) as ended:
        console()
    assert ended.value.code == "deepspeech2: stopped by Ctrl-C"


def test_an_unknown_option_of_a_command_is_answered_by_it_with_the_nearest(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["transcribe", "MODEL", "a.wav", "--output_dirr", "x"])
    printed = capsys.readouterr().err
    assert ended.value.code == 2 and printed.startswith("usage: deepspeech2 transcribe ")
    assert "unknown option --output_dirr; did you mean '--output_dir'?" in printed
    with pytest.raises(SystemExit):
        main(["convert", "a.pth", "b"])
    assert "unexpected word 'b'" in capsys.readouterr().err
