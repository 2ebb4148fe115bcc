"""Every notebook runs from top to bottom, with few steps; the rendered copies are those of today's notebooks."""

import ast
import base64
import shutil
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RENDERED = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def code_of(path):
    """The code cells of a notebook."""
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.slow
@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("STEPS", "20")
    for variable in ("RUNS", "RESULTS", "CHECKPOINTS", "CHECKPOINT", "PHOTO"):
        monkeypatch.delenv(variable, raising=False)
    shutil.copy(path.with_name("networks.py"), tmp_path)
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "save notebooks without outputs"
    client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}})
    client.comm_open_handlers.clear()  # as in render.py
    client.execute()


@pytest.mark.slow
def test_the_cells_of_the_quick_start_run(tmp_path, monkeypatch):
    """In this process and with two steps; the slow test runs all notebooks as Jupyter does."""
    monkeypatch.setenv("STEPS", "2")
    monkeypatch.delenv("RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "notebooks")
    monkeypatch.delitem(sys.modules, "networks", raising=False)
    found = {}
    for source in code_of(ROOT / "notebooks/01_quickstart.ipynb"):
        exec(compile(source, "01_quickstart", "exec"), found)
    del sys.modules["networks"]  # which knows the two steps
    plt.close("all")
    assert found["metrics"]["steps"] == 2
    assert found["prediction"].shape == found["mask"].shape
    assert found["maps"].keys() >= {"context", "gradient"}
    assert [step for step, _ in found["curve"]] == [2]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_imports_of_the_project_is_there(path, monkeypatch):
    """Without a run, which takes minutes."""
    monkeypatch.syspath_prepend(path.parent)
    lines = [
        node for source in code_of(path) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)
    ]
    ours = [line for line in lines if line.module.split(".")[0] in ("contextseg", "networks")]
    assert ours
    for line in ours:
        exec(ast.unparse(line), {})


@pytest.mark.parametrize("path", RENDERED, ids=lambda path: path.stem)
def test_a_rendered_copy_is_the_notebook_and_its_pictures_are_small(path):
    copy, notebook = (nbformat.read(file, as_version=4) for file in (path, ROOT / "notebooks" / path.name))
    assert [cell.source for cell in copy.cells] == [cell.source for cell in notebook.cells], "run `make notebooks`"
    pictures = [
        data
        for cell in copy.cells
        for output in cell.get("outputs", [])
        for kind, data in output.get("data", {}).items()
        if kind.startswith("image/")
    ]
    assert pictures
    assert max(len(base64.b64decode(data)) for data in pictures) < 300_000
    assert "\\u001b" not in path.read_text(), "colour codes of a terminal"
