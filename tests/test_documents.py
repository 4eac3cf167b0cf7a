"""What documents and notebooks show runs as it stands."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "benchmarks").glob("**/README.md")),
    *sorted((ROOT / "jarzynski_jax").glob("**/README.md")),
]
WITH_EXAMPLES = [path for path in DOCUMENTS if "```python" in path.read_text()]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_the_readme_is_a_door():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_of_documents_run(path):
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)
    for block in blocks:
        exec(compile(block, path.name, "exec"), {})


def test_there_are_examples_to_run():
    assert len(WITH_EXAMPLES) >= 6


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_documents_link_to_exist(path):
    links = re.findall(r"\]\(([^)#:]+)", path.read_text())
    links = [link for link in links if not link.startswith("http")]
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stripped_and_runs(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs, "strip the outputs before committing"
            assert cell.execution_count is None
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
