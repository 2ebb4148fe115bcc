"""Who imports whom: three storeys, imports go down, no circle. docs/architecture.md tells what lives where."""

import ast
import functools
import importlib.metadata
import sys
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
PACKAGE = SRC / "contextseg"
FILES = sorted(PACKAGE.rglob("*.py"))

LIBRARY, ENGINE, COMMANDS = range(3)
ABOVE_THE_LIBRARY = {
    "datamodules": ENGINE,
    "engine": ENGINE,
    "instances": ENGINE,
    "papers": ENGINE,
    "runs": ENGINE,
    "commands": COMMANDS,
    "__main__": COMMANDS,
}


def room(path):
    """The folder or file directly in contextseg/ that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def storey(path):
    return ABOVE_THE_LIBRARY.get(room(path), LIBRARY)


@functools.cache
def imports(path):
    """Every imported module as a dotted name, those inside functions too; `from a import b` gives a.b."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def file_of(name):
    """The file of contextseg that a dotted name lies in; None for other packages."""
    parts = name.split(".")
    while parts[0] == "contextseg":  # the last parts may be names inside a file
        for file in (SRC.joinpath(*parts).with_suffix(".py"), SRC.joinpath(*parts) / "__init__.py"):
            if file.is_file():
                return file
        parts.pop()
    return None


def own_imports(path):
    return {file for name in imports(path) if (file := file_of(name))} - {path}


def libraries(path):
    return {name.split(".")[0] for name in imports(path)}


def test_the_walk_sees_imports():
    assert PACKAGE / "layers/conv.py" in own_imports(PACKAGE / "heads/ocr.py")
    assert PACKAGE / "commands/entry.py" in own_imports(PACKAGE / "commands/__main__.py")  # inside a function
    assert {storey(path) for path in FILES} == {LIBRARY, ENGINE, COMMANDS}


def test_storeys_import_downwards():
    for path in FILES:
        if path != PACKAGE / "__init__.py":  # it only says where the entry points are
            for target in own_imports(path):
                assert storey(target) <= storey(path), f"{path.relative_to(SRC)} imports {target.relative_to(SRC)}"


def test_the_library_knows_neither_hydra_nor_lightning():
    for path in FILES:
        if storey(path) == LIBRARY:
            assert not libraries(path) & {"hydra", "omegaconf", "lightning", "pytorch_lightning"}, path
        if storey(path) != COMMANDS:
            assert "hydra" not in libraries(path), path
        assert "wandb" not in libraries(path), f"{path}: only the configuration names it"


def test_a_composed_configuration_ends_at_the_door_and_in_build():
    for path in FILES:
        if storey(path) == ENGINE and path != PACKAGE / "engine/build.py":
            assert "omegaconf" not in libraries(path), path


def test_heads_never_import_each_other():
    for path in PACKAGE.glob("heads/*.py"):
        assert "heads" not in {room(target) for target in own_imports(path)}, path.name


def test_no_import_circle():
    graph = {path: own_imports(path) for path in FILES if path != PACKAGE / "__init__.py"}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_no_file_is_long_without_a_reason():
    for path in FILES:
        lines = path.read_text().splitlines()
        assert len(lines) <= 300 or "long because" in lines[0].lower(), f"{path}: {len(lines)} lines"


def test_scripts_are_three_lines():
    for path in SRC.glob("*.py"):
        code = [node for node in ast.parse(path.read_text()).body if not isinstance(node, ast.Expr)]
        assert len(code) == 2, path
        assert imports(path) == ["contextseg.commands.__main__.main"], path


def test_nothing_in_src_hides_a_library():
    shared = {"contextseg", "hydra_plugins"}  # our own package, and the name under which Hydra looks for anyone's
    dependencies = set(importlib.metadata.packages_distributions()) - shared
    for path in SRC.iterdir():
        if path.suffix in ("", ".py") and path.name != "__pycache__":
            assert path.stem not in sys.stdlib_module_names | dependencies, path
