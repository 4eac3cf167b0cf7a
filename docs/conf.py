"""The documentation: `python -m sphinx -W docs docs/_build`, with the extra `docs`.

Pages of the rooms and of the studies are made here of their READMEs, so that nothing is said
twice; notebooks are shown as they were run.
"""

import ast
import os
import re
import shutil
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jarzynski_jax

_HERE = Path(__file__).parent
_ROOT = _HERE.parent
_PACKAGE = _ROOT / "jarzynski_jax"
_MADE = _HERE / "_made"

project = "jarzynski_jax"
author = "The jarzynski_jax developers"
release = jarzynski_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
html_title = "jarzynski_jax"
html_show_copyright = False
pygments_dark_style = "monokai"
exclude_patterns = ["_build", "jupyter_execute", "README.md"]
# Links of a README to files of the repository that are no pages are left as they are.
suppress_warnings = ["myst.xref_missing", "myst.header"]
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the tests run the notebooks; here they are shown as they were run
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature has them, and the docstrings the shapes
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_use_rtype = False
intersphinx_mapping: dict[str, Any] = {}

#: Room or module: its title, in the order in which they build on each other.
_ROOMS = {
    "kernels": "Kernels",
    "resampling": "Resampling",
    "walkers": "Walkers",
    "annealing": "Annealing",
    "free_energy": "Free energies",
    "targets": "Targets",
    "targets/lattice": "Lattice systems",
    "energies": "Energies",
    "generators": "Generators",
    "interpolants": "Interpolants",
    "data": "Data",
    "training": "Training",
    "nonequilibrium": "Nonequilibrium",
    "latent": "Models with latents",
    "quantum": "Ground states",
    "interop": "Other libraries",
    "app": "The command line",
}
_BENEATH = (
    *("types", "checks", "compiling", "compiler_faults", "formatting", "interruption"),
    *("modules", "progress"),
)
_STUDIES = (
    "gaussian_mixture",
    "mnist",
    "log_partition",
    "evidence",
    "lattice",
    "flows",
    "quantum",
    "nonequilibrium",
    "latent",
    "speed",
)


def _modules(room: str) -> list[str]:
    """Those of a room in the order in which its README names them, then the others."""
    readme = _readme(_PACKAGE / room)

    def place(name: str) -> tuple[int, str]:
        found = readme.find(f"`{name}`")
        return (found if found >= 0 else len(readme), name)

    names = sorted((path.stem for path in (_PACKAGE / room).glob("*.py")), key=place)
    package = f"jarzynski_jax.{room}".replace("/", ".")
    return [f"{package}.{name}" for name in names if not name.startswith("__")]


def _is_described(module: str) -> bool:
    source = _ROOT / Path(*module.split(".")).with_suffix(".py")
    return ast.get_docstring(ast.parse(source.read_text())) is not None


def _api(modules: list[str]) -> str:
    blocks = [
        f"```{{eval-rst}}\n{module}\n{'-' * len(module)}\n\n.. automodule:: {module}\n```\n"
        for module in modules
        if _is_described(module)
    ]
    return "\n".join(blocks)


def _readme(folder: Path) -> str:
    """A README, with links to files that are no pages turned to their names."""
    path = folder / "README.md"
    if not path.exists():
        return f"# {_ROOMS[folder.name]}\n"

    def resolve(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        if target.startswith(("http", "#")):
            return match[0]
        file = (folder / target.split("#")[0]).resolve()
        if file.suffix == ".png" and file.exists():
            return f"[{text}]({os.path.relpath(file, _MADE)})"
        return f"`{text}`" if "`" not in text else text

    return re.sub(r"(?<!!)\[([^\]]*)\]\(([^)]*)\)", resolve, _with_pictures(path, folder))


def _with_pictures(path: Path, folder: Path) -> str:
    def move(match: re.Match[str]) -> str:
        return f"![{match[1]}]({os.path.relpath((folder / match[2]).resolve(), _MADE)})"

    return re.sub(r"!\[([^\]]*)\]\(([^)]*)\)", move, path.read_text())


def _write_pages() -> None:
    shutil.rmtree(_MADE, ignore_errors=True)
    _MADE.mkdir()
    for room in _ROOMS:
        page = f"{_readme(_PACKAGE / room)}\n## Reference\n\n{_api(_modules(room))}"
        (_MADE / f"{room.replace('/', '_')}.md").write_text(page)
    modules = [f"jarzynski_jax.{name}" for name in ("weights", "density", *_BENEATH)]
    (_MADE / "beneath.md").write_text(f"# Beneath the rooms\n\n{_api(modules)}")
    for study in _STUDIES:
        page = _readme(_ROOT / "benchmarks" / ("" if study == "speed" else "studies") / study)
        (_MADE / f"study_{study}.md").write_text(page)
    for notebook in (_ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, _MADE)


def _skip(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool:
    """Fields of named tuples are told of in the docstring of the class."""
    return skip or (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", _skip)


_write_pages()
