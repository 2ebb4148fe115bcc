"""What is installed: the source distribution and the wheel hold all files of the checkout that the code reads."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
SUFFIXES = (".py", ".yaml", ".html", ".css", ".js", ".svg")  # of the files that a package may hold
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def run(code: str, *arguments: str, cwd: Path, **environment: str) -> str:
    """Run Python code in a folder and return the last line that it prints."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return (done.stdout.splitlines() or [""])[-1]


def files(folder: Path, within: str = "") -> Mapping[str, Path]:
    """Map the files that a package may hold, by their paths in it, to those of the checkout."""
    found = (path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    return {str(Path(within) / path.relative_to(folder)): path for path in found}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> ZipFile:
    """A wheel made from a source distribution, in whose build folder an earlier build left a module."""
    copy, built = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("built")
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    run(BUILD, "build_sdist", str(built), cwd=copy)
    (archive,) = built.glob("*.tar.gz")
    shutil.unpack_archive(archive, built)
    unpacked = built / archive.name.removesuffix(".tar.gz")
    stale = unpacked / "build" / "lib" / "contextseg" / "removed.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    run(BUILD, "build_wheel", str(built), cwd=unpacked)
    (file,) = built.glob("*.whl")
    return ZipFile(file)


def test_wheel_holds_the_checkout(wheel):
    expected = files(ROOT / "src" / "contextseg", "contextseg") | files(ROOT / "src" / "hydra_plugins", "hydra_plugins")
    expected |= files(ROOT / "conf", "contextseg/packaged_conf")
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == set(expected)
    assert all(wheel.read(name) == path.read_bytes() for name, path in expected.items())


def test_wheel_declares_the_command(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    scripts = ConfigParser()
    scripts.read_string(wheel.read(name).decode())
    assert dict(scripts["console_scripts"]) == {"contextseg": "contextseg.commands.__main__:main"}


@pytest.fixture
def installed(wheel, tmp_path) -> Path:
    """The wheel unpacked in somebody else's repository."""
    for words in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a", "--allow-empty"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    wheel.extractall(tmp_path)
    return tmp_path


def test_installed_package_reads_its_own_configuration(installed):
    printed = run("from contextseg.conf import CONF; print(CONF)", cwd=installed, PYTHONPATH=str(installed))
    assert printed == str(installed / "contextseg" / "packaged_conf")


def test_installed_package_takes_no_commit_from_its_surroundings(installed):
    code = "from contextseg.runs.provenance import git_commit; print(git_commit())"
    assert run(code, cwd=installed, PYTHONPATH=str(installed)) == "None"
