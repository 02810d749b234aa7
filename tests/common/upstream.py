"""
Loads the test files that transformers ships (see fetch.py) as the package `transformers_tests`.

They import a few modules that the source distribution leaves out; small stand-ins take their places here.
"""

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatch
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import transformers

from .fetch import PACKAGE, folder

STAND_INS: dict[str, dict[str, Any]] = {
    f"{PACKAGE}.exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    f"{PACKAGE}.generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    "fetch_hub_objects_for_ci": {"url_to_local_path": lambda url: url},
}


def load(name: str) -> ModuleType:
    """The module `transformers_tests.<name>`; skips the importing test file where the files are not here."""
    if not folder().is_dir():
        pytest.skip(f"no test files in {folder()}: run 'make transformers-tests'", allow_module_level=True)
    if str(folder()) not in sys.path:
        sys.path.append(str(folder()))
    for stand_in, contents in STAND_INS.items():
        sys.modules.setdefault(stand_in, ModuleType(stand_in)).__dict__.update(contents)
    # test_pipeline_mixin would import the source tree of transformers; the installed package is the same.
    with mock.patch("transformers.utils.direct_transformers_import", lambda path: transformers):
        return importlib.import_module(f"{PACKAGE}.{name}")


def skipping(reasons: Mapping[str, str], by_hardware: Collection[str] = ()) -> Callable[[type], type]:
    """
    Class decorator: skips the inherited tests whose names match, each with its reason. Those `by_hardware` are left to
    their own decorators, which skip them where there is no GPU, say.

    Raises:
        LookupError: a pattern that matches no test, or a test that a decorator skips and no pattern names: the table
            is out of date.
    """

    def decorate(cls: type) -> type:
        tests = [name for name in dir(cls) if name.startswith("test_")]
        named = [name for name in tests for pattern in (*reasons, *by_hardware) if fnmatch(name, pattern)]
        skipped = [name for name in tests if getattr(getattr(cls, name), "__unittest_skip__", False)]
        if unnamed := sorted(set(skipped) - set(named)):
            raise LookupError(f"{cls.__name__}: {', '.join(unnamed)} are skipped without being named")
        for pattern, reason in reasons.items():
            matches = [name for name in tests if fnmatch(name, pattern)]
            if not matches:
                raise LookupError(f"{cls.__name__} has no test {pattern!r} to skip")
            for name in matches:
                setattr(cls, name, pytest.mark.skip(reason=reason)(_placeholder(name)))
        return cls

    return decorate


def _placeholder(name: str) -> Callable[[Any], None]:
    """A function of its own for each test: a mark on the inherited one would reach every other class."""

    def test(self: Any) -> None:
        raise AssertionError(f"{name} should be skipped")

    test.__name__ = name
    return test


class NamedSkips:
    """A test that skips itself fails: its name and reason belong in skips.py."""

    def skipTest(self, reason: str) -> None:
        raise AssertionError(f"the test skips itself ({reason}): name it in tests/common/skips.py, or make it run")
