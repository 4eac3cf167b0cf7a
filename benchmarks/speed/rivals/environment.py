"""The rivals' virtual environments: built once, and built again when the versions change."""

import os
import subprocess
import sys
from pathlib import Path

#: What is installed, each at one version: for the rivals in PyTorch and NumPy.
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
#: For those in JAX, with what ours needs.
JAX_REQUIREMENTS = Path(__file__).with_name("jax_requirements.txt")
# In an environment: which requirements it was built for; empty while it is being built.
_STAMP = "rivals.txt"
_ROOT = Path(__file__).parents[3]


def prepare(folder: Path, requirements: Path) -> Path:
    """Build an environment of these requirements if it is not there yet.

    Returns
    -------
    Path
        Its Python.

    Raises
    ------
    ValueError
        If the folder holds something else.
    """
    stamp, wanted = folder / _STAMP, requirements.read_text()
    # Not resolved: the link to the interpreter is what makes it this environment's.
    python = folder.absolute() / ("Scripts" if os.name == "nt" else "bin") / "python"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    if folder.exists() and any(folder.iterdir()) and not stamp.exists():
        raise ValueError(f"{folder} is not an environment of the rivals; take another folder")
    folder.mkdir(parents=True, exist_ok=True)
    stamp.write_text("")
    print(f"building {folder}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)]
    subprocess.run(install, check=True, env=_variables())
    stamp.write_text(wanted)
    return python


def run_module(python: Path, module: str, *arguments: str) -> str:
    """Run a module of the benchmarks in the environment; return what it prints."""
    command = [str(python), "-m", module, *arguments]
    done = subprocess.run(
        command, check=True, cwd=_ROOT, env=_variables(), stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def _variables() -> dict[str, str]:
    """Leave out what would let the environment see the packages of this one."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "PYTHONNOUSERSITE": "1"}
