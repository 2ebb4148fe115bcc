"""A few inputs of each kind that `make fuzz` tries; and the fuzzer sees a fault of each kind."""

import json
import logging
import time

import fuzz
import numpy as np
import pytest
from fuzzing import archives, checkpoints, options, pictures, records, whole
from fuzzing.case import Case, Fault, verdict
from fuzzing.world import World
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contextseg.data import pixels
from contextseg.errors import ConfigError

FEW = {"options": 25, "images": 60, "masks": 50, "checkpoints": 12, "classes": 25, "runs": 3, "archives": 8}


@pytest.fixture(scope="module")
def world(trained, tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"), trained.folder)


@pytest.fixture(autouse=True)
def quiet():
    """Runs that are skipped and archives that are read say so."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FEW)
def test_wrong_inputs_are_answered_rightly_or_refused(kind, world):
    bounds = settings(
        max_examples=FEW[kind],
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )

    @bounds
    @given(rng=st.randoms(use_true_random=False))
    def each(rng):
        verdict(fuzz.DRAW[kind](rng, world))

    each()


def refuse(said):
    raise ConfigError(said)


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (Case("", lambda: {}["a"]), "traceback: KeyError"),
        (Case("", lambda: time.sleep(5)), "hang"),
        (Case("", lambda: refuse("a\nb")), "not one line"),
        (Case("", lambda: refuse("it is wrong"), ("one.png",)), "names none of"),
        (Case("", lambda: refuse("one.png"), ("one.png",), must=True), "refused, but right"),
    ],
)
def test_what_is_no_answer_and_no_refusal_is_a_fault(case, says):
    with pytest.raises(Fault, match=says):
        verdict(case, seconds=0.1)


def test_right_and_refused():
    assert verdict(Case("", lambda: None)) == "right"
    assert verdict(Case("", lambda: refuse("one.png is no picture"), ("one.png",))) == "refused"


def test_a_wrong_value_is_seen(world):
    with pytest.raises(Fault, match="count is 3 in the configuration, not 4"):
        options.ask("samples", ["count=3"], {"count": 4})


def test_wrong_pixels_and_labels_are_seen(tmp_path, monkeypatch):
    values = np.arange(6).reshape(2, 3, 1)
    one = pictures.Made("PNG", pictures.png(values, 8, 0), ".png", np.repeat(values, 3, 2), values[..., 0])
    path = tmp_path / "one.png"
    path.write_bytes(one.data)
    pictures.ask_image(path, one, pixels.AS_STORED, "")
    pictures.ask_mask(path, one, pictures.Indices(), one.index, "")
    with pytest.raises(Fault, match=r"labels .* differ by up to 1"):
        pictures.ask_mask(path, one, pictures.Indices(), one.index + 1, "")
    read = pixels.read_image
    monkeypatch.setattr(pixels, "read_image", lambda *given: read(*given)[::-1].copy())
    with pytest.raises(Fault, match=r"pixels .* differ by up to 3"):
        pictures.ask_image(path, one, pixels.AS_STORED, "")


def test_other_labels_of_a_checkpoint_are_seen(world, monkeypatch):
    monkeypatch.setattr(checkpoints, "reference", lambda path: None)
    monkeypatch.setattr(checkpoints.torch, "equal", lambda *two: False)
    with pytest.raises(Fault, match="other labels"):
        checkpoints.ask(world.checkpoint, world, "bytes", "")


def test_a_class_that_is_lost_is_seen(tmp_path, monkeypatch):
    path = tmp_path / "classes.yaml"
    path.write_text("names: [a, b]")
    monkeypatch.setattr(records.yaml, "safe_load", lambda text: {"names": ["a", "b", "c"]})
    with pytest.raises(Fault, match="silent"):
        records.ask_classes(path, "bytes")


def test_a_file_that_is_lost_from_a_tree_is_seen(tmp_path):
    for name in ("whole/a.txt", "whole/b.txt", "other/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a")
    with pytest.raises(Fault, match=r"b\.txt"):
        archives.compare(tmp_path / "whole", tmp_path / "other", tmp_path / "a.zip", "")


def test_what_a_command_says_is_looked_at():
    whole.check("predict", 0, "", "")
    for command, code, said in (("predict", 2, "skipped: it\nerror: ckpt=a: no such file\n"), ("check_data", 1, "")):
        with pytest.raises(ConfigError):
            whole.check(command, code, "", said)
    for code, said in ((1, ""), (2, "no line"), (0, "Traceback (most recent call last):\nKeyError"), (-9, "error: a")):
        with pytest.raises(Fault):
            whole.check("predict", code, "", said)


def test_it_goes_on_where_it_was_stopped(world, tmp_path, monkeypatch, capsys):
    tried = []

    def draw(rng, world):
        tried.append(rng.random())
        return Case("an input", lambda: {}["a"] if len(tried) == 2 else refuse("no"))

    monkeypatch.setitem(fuzz.DRAW, "masks", draw)
    for inputs in (3, 3, 5):
        record = fuzz.Record(tmp_path)
        fuzz.fuzz("masks", inputs, 0, world, record)
    assert len(set(tried)) == 5
    assert fuzz.summary(record.counts) == 1
    assert "| masks 0 | 5 | 0 | 4 | 1 |" in capsys.readouterr().out
    (finding,) = [json.loads(line) for line in (tmp_path / "findings.jsonl").read_text().splitlines()]
    assert finding["number"] == 1
    assert finding["input"] == "an input"
