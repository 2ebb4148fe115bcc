"""The levels that theory gives for the factors of the diagnostic, on a few scenes."""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from selected import quick

from contextseg.commands.compose import compose
from contextseg.engine import build

SPEC = importlib.util.spec_from_file_location("diagnostic", Path(__file__).parents[2] / "benchmarks/diagnostic.py")
diagnostic = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(diagnostic)
every_factor = pytest.mark.parametrize("name", quick(diagnostic.PAIRS, [*diagnostic.PAIRS][:2]))


@cache
def scenes(name):
    """What is known of the pixels of 60 scenes."""
    data = build.datamodule(compose(["data=context_scenes_hard", f"data.factor={name}"]))
    found = [diagnostic.known(name, data, index) for index in range(60)]
    return {kind: np.concatenate([scene[kind] for scene in found]) for kind in found[0]}


def share(name, kind):
    """Of the pixels that context decides, the share that is right by one rule."""
    return scenes(name)[kind][scenes(name)["decided"] == 1].mean()


def test_iou_of_coins_by_hand():
    """Two classes of four pixels, three and three of them decided: of each, 2.5 right, 1.5 are taken for the other."""
    pixels = {"label": np.repeat([0, 1], 4), "flipped": np.repeat([1, 0], 4), "decided": np.tile([1, 1, 1, 0], 2)}
    assert diagnostic.iou(pixels, 2, 0.5) == pytest.approx([100 * 2.5 / 5.5] * 2)
    assert diagnostic.iou(pixels, 2, np.tile([1, 1, 0, 0], 2)) == pytest.approx([60, 60])
    assert diagnostic.iou(pixels, 2, 1.0) == pytest.approx([100, 100])


@every_factor
def test_context_decides_much_and_sight_shows_a_part_of_it(name):
    assert scenes(name)["decided"].mean() > (0.05 if name == "distractors" else 0.3)
    assert 0.02 < share(name, "sight") < 0.6
    found = scenes(name)
    assert (found["label"] != found["flipped"])[found["decided"] == 1].all()


@pytest.mark.parametrize(("name", "most"), [("facts", 1304 / 2048), ("matching", 110 / 160), ("neighbours", 0.5)])
def test_what_most_cues_say(name, most):
    """Of m coins, E[max(k, m - k)] / m; of neighbours as many are light as dark."""
    assert share(name, "most") == pytest.approx(most, abs=0.06)


def test_a_scene_whose_cues_all_say_the_same():
    data = diagnostic.datamodule(("facts", ("data.factors.facts.materials=2", "data.factors.facts.cells=3")))
    found = [diagnostic.known("facts", data, index) for index in range(40)]
    alike = [scene for scene in found if len(np.unique(scene["label"][scene["decided"] == 1])) == 1]
    assert {scene["label"][scene["decided"] == 1][0] for scene in alike} == {1, 2}
    for scene in alike:
        assert scene["most"][scene["decided"] == 1].all()
        assert scene["nearer"][scene["decided"] == 1].all()


def test_only_in_neighbours_the_nearer_mean_colour_says_nothing():
    assert share("neighbours", "nearer") == pytest.approx(0.5, abs=0.07)
    assert share("facts", "nearer") > 0.7
    assert share("matching", "nearer") > 0.75


def test_one_loop_does_not_reach_all():
    assert 0.3 < share("off_cross", "cross") < 0.8
    assert share("off_cross", "cross") > share("off_cross", "sight")
