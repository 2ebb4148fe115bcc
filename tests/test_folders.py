"""Walking below folders, and files that are no regular ones."""

import os
from pathlib import Path

import pytest

from contextseg.commands.archives import walk as archives
from contextseg.commands.predict import inputs
from contextseg.data.class_file import read_class_file
from contextseg.data.pairing import find
from contextseg.datamodules.folder import Folder
from contextseg.errors import ConfigError
from contextseg.folders import matching, walk


@pytest.fixture
def tree(tmp_path):
    """Pictures in three folders, links to folders here, above and elsewhere, a pipe and a link to nothing."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for path in ("a/one.png", "b/c/two.png", "b/.hidden/no.png", ".no.png", "three.zip"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x")
    elsewhere.mkdir()
    (elsewhere / "four.png").write_bytes(b"x")
    for i in range(12):  # each alone would double what is walked
        (root / f"loop{i}").symlink_to(".")
        (root / f"b/c/up{i}").symlink_to("../..")
    (root / "a/again").symlink_to("../b")
    (root / "a/out").symlink_to(elsewhere)
    (root / "gone.png").symlink_to("nowhere")
    os.mkfifo(root / "a/pipe.png")
    os.mkfifo(root / "pipe.zip")
    return root


def test_each_folder_is_entered_once(tree):
    found = sorted(file.relative_to(tree).as_posix() for file in walk(tree))
    assert found == ["a/one.png", "a/out/four.png", "b/c/two.png", "three.zip"]
    assert [file.name for file in walk(tree, omitted=tree / "b")] == ["three.zip", "one.png", "four.png"]
    assert archives(tree, tree)[0] == [tree / "three.zip"], "a pipe is no archive"


@pytest.mark.parametrize("start", ["", "{root}/"])
def test_patterns_of_any_depth(tree, monkeypatch, start):
    monkeypatch.chdir(tree)
    start = start.format(root=tree)
    wanted = [f"{start}{name}" for name in ("a/one.png", "a/out/four.png", "b/c/two.png")]
    assert matching(Path(), f"{start}**/*.png") == wanted
    assert matching(Path(), f"{start}[ab]/**/*.png") == wanted
    assert matching(Path(), f"{start}b//**/t?o.png") == wanted[2:]
    assert [str(path) for path in inputs.find(f"{start}**/*.png").images] == wanted
    assert {str(path.resolve()) for path in inputs.find(f"{start}b/**").images} >= {str(tree / "b/c/two.png")}
    assert list(find(tree, "**/*.png")) == ["a/one", "a/out/four", "b/c/two"]
    assert matching(Path(), f"{start}a/*.png") == [f"{start}a/one.png", f"{start}a/pipe.png"], "refused when it is read"


def test_no_door_waits_for_a_pipe(tree, tmp_path):
    os.mkfifo(tree / "classes.yaml")
    with pytest.raises(ConfigError, match=r"input=.*pipe\.png|pipe\.png: it is a pipe"):
        inputs.find(str(tree / "a/pipe.png"))
    assert inputs.find(str(tree / "a")).images == [tree / "a/one.png"]
    with pytest.raises(ConfigError, match=r"classes\.yaml: it is a pipe"):
        read_class_file(tree / "classes.yaml", "x")
    with pytest.raises(ConfigError, match=r"classes\.yaml: it is a pipe"):
        Folder(root=str(tree))
