"""Importing the library must not import what only its extras or its adapters need."""

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import jarzynski_jax

FORBIDDEN = [
    *("bijx", "blackjax", "constriction", "flowjax", "matplotlib", "orbax", "scipy"),
    *("sklearn", "tyro"),
]
# One imports other libraries, the others are the command line.
APART = {"__main__", "app", "interop"}
# A room imports rooms above it alone.
ORDER = (
    *("compiler_faults", "types", "checks", "compiling", "formatting", "interruption"),
    *("modules", "progress", "sine", "uniform", "weights"),
    *("density", "kernels", "resampling", "walkers", "free_energy", "annealing", "targets"),
    *("energies", "generators", "interpolants", "data", "training", "nonequilibrium"),
    *("latent", "quantum", "interop", "app", "__main__"),
)
PACKAGE = Path(jarzynski_jax.__file__).parent


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


def _rooms_imported(file):
    """Rooms that a file imports, at its top or in a function."""
    for node in ast.walk(ast.parse(file.read_text())):
        source = (getattr(node, "module", None) or "").split(".")
        if isinstance(node, ast.ImportFrom) and source[0] == "jarzynski_jax":
            yield from source[1:2] or [name.name for name in node.names]


def _upward_imports(rooms):
    place = {room: index for index, room in enumerate(rooms)}
    return {
        f"{file.relative_to(PACKAGE)} imports {other}"
        for file in PACKAGE.rglob("*.py")
        if file != PACKAGE / "__init__.py"
        for room in [file.relative_to(PACKAGE).parts[0].removesuffix(".py")]
        for other in _rooms_imported(file)
        if other != "__version__" and place[other] > place[room]
    }


def test_rooms_import_rooms_above_them_alone():
    modules = {module.name for module in pkgutil.iter_modules(jarzynski_jax.__path__)}
    assert modules == set(ORDER)
    assert _upward_imports(ORDER) == set()


def test_canary_an_order_with_walkers_first_is_violated():
    assert "walkers/ensemble.py imports weights" in _upward_imports(
        ("walkers", *(room for room in ORDER if room != "walkers"))
    )
