"""Checkpoints of every format load, and give the numbers of the code that wrote them: tests/golden/README.md."""

from pathlib import Path

import numpy as np
import pytest
import torch

from contextseg import load_checkpoint
from contextseg.checkpoint import read_checkpoint
from contextseg.commands.compose import compose
from contextseg.commands.evaluate.command import evaluate
from contextseg.errors import ConfigError
from contextseg.recipe import FORMAT
from contextseg.runs.configuration import differences

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(path.stem for path in GOLDEN.glob("*.ckpt"))
CLOSE = 1e-5  # of the largest logit: a hundred roundings of float32, since other orders of a sum are allowed
TIES = 0.002  # of the pixels: those whose two best classes are so close that rounding decides

every_file = pytest.mark.parametrize("name", FILES)
every_file_of_this_format = pytest.mark.parametrize("name", [n for n in FILES if n.startswith(f"format{FORMAT}_")])


def image() -> torch.Tensor:
    """An image uint8 (1, 3, 64, 80) from whole numbers alone, the same everywhere."""
    channel, row, column = np.ogrid[:3, :64, :80]
    pixels = 7 * column + 13 * row + row * column * (channel + 1)
    return torch.from_numpy((pixels % 256).astype(np.uint8))[None]


def texts(value):
    """All keys and texts in nested containers."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from (key, *texts(item))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


@pytest.fixture(scope="module")
def expected():
    with np.load(GOLDEN / "expected.npz") as arrays:
        return dict(arrays)


def test_there_are_files_of_every_format():
    assert {name.partition("_")[0] for name in FILES} == {f"format{number + 1}" for number in range(FORMAT)}
    assert all(path.stat().st_size < 200_000 for path in GOLDEN.glob("*.ckpt"))


@every_file
@torch.no_grad()
def test_logits_are_those_of_the_code_that_wrote_the_file(name, expected):
    logits, wanted = load_checkpoint(GOLDEN / f"{name}.ckpt").logits(image()), expected[f"{name}_logits"]
    assert wanted.std() > 0.1
    assert np.abs(logits.numpy() - wanted).max() <= CLOSE * np.abs(wanted).max()


@every_file
def test_scores_are_those_of_the_code_that_wrote_the_file(name, expected, tmp_path):
    """On the embedded scenes of its own configuration."""
    given = (f"ckpt={GOLDEN / name}.ckpt", f"paths.runs={tmp_path}", "callbacks.pictures.count=0")
    folder = evaluate(compose(given, "evaluate"))[0].folder
    wanted = expected[f"{name}_confusion"]
    with np.load(folder / "confusion.npz") as arrays:
        moved = np.abs(arrays["confusion"] - wanted).sum() / 2  # a pixel of another class leaves one cell for another
    assert wanted.sum(0).astype(bool).sum() > 2, "it says one class or two, whatever it sees"
    assert moved <= TIES * wanted.sum()


@every_file
def test_no_module_is_named(name):
    """A file of code may be renamed, whatever was saved before."""
    checkpoint = read_checkpoint(GOLDEN / f"{name}.ckpt")
    assert checkpoint["recipe"]["format"] == FORMAT
    found = [*texts(checkpoint["recipe"]), *texts(checkpoint["config"])]
    assert "TrainTransform" in found or "ContextScenes" in found
    assert not [text for text in found if "contextseg." in text]


@every_file_of_this_format
def test_no_module_is_named_in_the_file_itself(name):
    checkpoint = torch.load(GOLDEN / f"{name}.ckpt", weights_only=True)
    assert checkpoint["recipe"]["format"] == FORMAT
    assert not [t for t in (*texts(checkpoint["recipe"]), *texts(checkpoint["config"])) if "contextseg." in t]


def test_a_run_of_an_older_format_may_go_on():
    """The same overrides, then and now: nothing differs that would refuse it."""
    old, new = (read_checkpoint(GOLDEN / f"format{number}_ocr.ckpt")["config"] for number in (1, 2))
    assert differences(old, new) == []


def test_a_newer_format_is_refused(tmp_path):
    checkpoint = torch.load(GOLDEN / f"{FILES[-1]}.ckpt", weights_only=True)
    checkpoint["recipe"]["format"] = FORMAT + 1
    torch.save(checkpoint, tmp_path / "newer.ckpt")
    with pytest.raises(ConfigError, match=rf"newer\.ckpt: its recipe has format {FORMAT + 1}, newer than {FORMAT}"):
        load_checkpoint(tmp_path / "newer.ckpt")
