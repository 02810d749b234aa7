"""Gets the test files of the installed transformers release: `python tests/common/fetch.py`.

They are in its source distribution only, not in the wheel. pip downloads it from whatever index it is configured
with; the test files alone are kept, beside the environment whose transformers they belong to.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

PACKAGE = "transformers_tests"


def folder() -> Path:
    """Where the package `transformers_tests` of the installed release is, or will be."""
    return Path(sys.prefix) / "share" / "transformers-tests" / version("transformers")


def fetch() -> Path:
    """
    Downloads and unpacks `tests/*.py`, once for each release.

    Raises:
        SystemExit: no network, or an index without the source distribution.
    """
    if folder().is_dir():
        return folder()
    folder().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder().parent) as scratch:
        requirement = f"transformers=={version('transformers')}"
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
        if subprocess.run([*download, "--dest", scratch, requirement]).returncode:
            raise SystemExit(f"pip could not download the source distribution of {requirement}: see its message above")
        unpacked = Path(scratch, "unpacked")
        package = unpacked / PACKAGE
        package.mkdir(parents=True)
        (archive,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            for member in tar:
                source = tar.extractfile(member) if Path(member.name).match("*/tests/*.py") else None
                if source is not None:
                    (package / Path(member.name).name).write_bytes(source.read())
        (package / "__init__.py").touch()
        # test_pipeline_mixin reads this list of models of the Hub when it is imported.
        summary = unpacked / "tests" / "utils" / "tiny_model_summary.json"
        summary.parent.mkdir(parents=True)
        summary.write_text("{}\n")
        shutil.move(unpacked, folder())
    return folder()


if __name__ == "__main__":
    print(fetch())
