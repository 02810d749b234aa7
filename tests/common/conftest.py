"""The marks that transformers' test files use, known only to its own configuration."""

import pytest

MARKS = ("accelerate_tests", "flash_attn_test", "flash_attn_3_test", "flash_attn_4_test", "is_pipeline_test")


def pytest_configure(config: pytest.Config) -> None:
    for mark in (*MARKS, "torch_compile_test"):
        config.addinivalue_line("markers", f"{mark}: of transformers' own test files")
