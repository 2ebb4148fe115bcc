"""Who imports whom: the rows of docs/architecture.md, held against the source with `ast`."""

import ast
import functools
import importlib.metadata
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
PACKAGE = SRC / "contextseg"

# A file imports only from rows above its own or from its own folder. The files of row 0 may know each other, and a
# checkpoint is rebuilt by `build`.
SAME_ROW = {("checkpoint", "build")}
KNOW_LIGHTNING = {"module", "callbacks", "data", "history", "build", "run"}
FILES = sorted(PACKAGE.rglob("*.py"))
COMMANDS = sorted(SRC.glob("*.py"))


def unit(path):
    """The module or folder directly in contextseg/ that a path belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@functools.cache
def rows():
    """Name -> row, from the table of docs/architecture.md."""
    lines = re.findall(r"^\|\s*(\d+)\s*\|([^|]*)\|", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    pairs = [(name, int(number)) for number, cell in lines for name in re.findall(r"`(\w+)`", cell)]
    assert len(dict(pairs)) == len(pairs), "a name stands in two rows"
    return dict(pairs)


def row(name):
    assert name in rows(), f"{name} has no row: give it one in docs/architecture.md"
    return rows()[name]


def imports(path):
    """Every imported module as a dotted name, those inside functions too; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path):
    """The files of contextseg that a file imports."""
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "contextseg":
            continue
        while len(parts) > 1:  # the last parts may be names inside a file
            target = SRC.joinpath(*parts)
            if target.with_suffix(".py").is_file():
                yield target.with_suffix(".py")
                break
            if (target / "__init__.py").is_file() and len(parts) > 1:
                yield target / "__init__.py"
                break
            parts.pop()


def libraries(path):
    return {name.split(".")[0] for name in imports(path)}


def names(paths):
    return [str(path.relative_to(SRC)) for path in paths]


def test_the_walk_sees_imports():
    assert PACKAGE / "layers/conv.py" in own_imports(PACKAGE / "heads/ocr.py")
    assert PACKAGE / "run.py" in own_imports(SRC / "train.py")  # inside a function
    assert PACKAGE / "heads/__init__.py" in own_imports(PACKAGE / "build.py")


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_a_file_imports_only_from_rows_above_its_own(path):
    mine = unit(path)
    if mine == "__init__":
        assert not list(own_imports(path))  # the library's entry points load lazily
        return
    for target in own_imports(path):
        other = unit(target)
        if other == mine or row(other) == row(mine) == 0 or (mine, other) in SAME_ROW:
            continue
        assert row(other) < row(mine), f"{mine} (row {row(mine)}) imports {other} (row {row(other)})"


def test_heads_never_import_each_other():
    for path in PACKAGE.glob("heads/*.py"):
        assert "heads" not in {unit(target) for target in own_imports(path)}, path.name


def test_no_import_circle():
    graph = {path: set(own_imports(path)) - {path} for path in FILES}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_few_files_know_hydra_or_lightning(path):
    used, mine = libraries(path), unit(path)
    if mine == "__init__" or row(mine) < 4:
        assert not used & {"hydra", "omegaconf"}
    if mine not in KNOW_LIGHTNING:
        assert not used & {"lightning", "pytorch_lightning"}
    assert "wandb" not in used  # only the configuration names it


@pytest.mark.parametrize("path", COMMANDS, ids=names(COMMANDS))
def test_commands_are_short(path):
    assert len(path.read_text().splitlines()) <= 25
    assert libraries(path) == {"contextseg"}


def test_the_table_names_what_exists():
    assert set(rows()) == {unit(path) for path in FILES} - {"__init__"}
    known = {"contract": 0, "layers": 0, "heads": 1, "losses": 1, "segmenter": 2, "module": 3, "build": 4, "run": 5}
    assert known.items() <= rows().items()


def test_nothing_in_src_hides_a_library():
    shared = {"contextseg", "hydra_plugins"}  # our own package, and the name under which Hydra looks for anyone's
    dependencies = set(importlib.metadata.packages_distributions()) - shared
    for path in SRC.iterdir():
        if path.suffix in ("", ".py") and path.name != "__pycache__":
            assert path.stem not in sys.stdlib_module_names | dependencies, path
