"""Importing the library must not import what only its extras or its adapters need."""

import pkgutil
import subprocess
import sys

import pytest

import jarzynski_jax

FORBIDDEN = ["blackjax", "matplotlib", "orbax", "sklearn", "tyro"]
# One imports BlackJAX, the others are the command line.
APART = {"__main__", "blackjax", "cli", "job", "run_folder"}


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


def test_all_other_modules_are_at_hand_and_described():
    modules = {module.name for module in pkgutil.iter_modules(jarzynski_jax.__path__)} - APART
    assert set(jarzynski_jax.__all__) == modules
    assert all(hasattr(jarzynski_jax, name) for name in modules)
    undescribed = {name for name in modules if f"``{name}``" not in jarzynski_jax.__doc__}
    assert undescribed == set()
