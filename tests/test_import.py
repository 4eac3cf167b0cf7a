"""Importing the library must not import what only its extras or its adapters need."""

import subprocess
import sys

import pytest

FORBIDDEN = ["blackjax", "matplotlib", "sklearn"]


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Top-level modules that are loaded by ``import jarzynski_jax`` in a fresh process."""
    code = "import jarzynski_jax, sys; print(*{name.split('.')[0] for name in sys.modules})"
    process = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(process.stdout.split())


@pytest.mark.parametrize("module", FORBIDDEN)
def test_import_is_lean(imported, module):
    assert "jarzynski_jax" in imported
    assert module not in imported
