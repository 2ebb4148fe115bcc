"""The generated scenes: what a bit changes, and that nothing else decides."""

import numpy as np
import pytest

from contextseg.datamodules.context_scenes import CLASSES, ContextScenes, draw_scene
from contextseg.errors import ConfigError

RULES = {"scene": (True, False), "furniture": (False, True)}
CUES = {rule: cues for rule, (cues, _) in ContextScenes.context_rules.items()}
AMBIGUOUS = {rule: ids for rule, (_, ids) in ContextScenes.context_rules.items()}


def in_cue(mask, ids):
    """The cue's pixels and those next to them (void borders)."""
    rows, columns = np.where(np.isin(mask, ids))
    box = np.zeros(mask.shape, bool)
    box[rows.min() - 2 : rows.max() + 3, columns.min() - 2 : columns.max() + 3] = True
    return box


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("index", range(8))
def test_a_flipped_bit_repaints_only_its_cue(rule, index):
    image, mask = draw_scene(1, index)
    other_image, other_mask = draw_scene(1, index, flip=RULES[rule])
    cue = in_cue(mask, CUES[rule]) | in_cue(other_mask, CUES[rule])

    repainted = (image != other_image).any(2)
    assert 100 < repainted.sum() < 500
    assert not (repainted & ~cue).any()

    relabelled = (mask != other_mask) & ~cue
    ambiguous = np.isin(mask, AMBIGUOUS[rule])
    assert np.array_equal(relabelled, ambiguous & ~cue)
    assert set(np.unique(other_mask[relabelled])) <= set(AMBIGUOUS[rule])


def test_a_flipped_bit_relabels_thousands_of_pixels():
    relabelled = [(draw_scene(1, i)[1] != draw_scene(1, i, flip=(True, True))[1]).sum() for i in range(8)]
    assert min(relabelled) > 8000


def test_seed_and_index_decide_the_scene():
    image, mask = draw_scene(3, 7)
    again, mask_again = draw_scene(3, 7)
    assert np.array_equal(image, again)
    assert np.array_equal(mask, mask_again)
    assert not np.array_equal(image, draw_scene(3, 8)[0])
    assert not np.array_equal(image, draw_scene(4, 7)[0])


def test_pixel_shares():
    masks = np.stack([draw_scene(1, index)[1] for index in range(150)])

    def share(*names):
        return np.isin(masks, [CLASSES.names.index(name) for name in names]).mean()

    assert share("foliage") == pytest.approx(0.19, abs=0.02)
    assert share("sand", "road") == pytest.approx(0.22, abs=0.04)
    assert share("sea", "glass") == pytest.approx(0.22, abs=0.04)
    assert share("table", "bed") == pytest.approx(0.27, abs=0.03)
    assert share("pole") == pytest.approx(0.02, abs=0.004)
    assert (masks == 255).mean() == pytest.approx(0.05, abs=0.01)
    assert all(0.004 < share(cue) < 0.01 for cue in ("parasol", "car", "mug", "pillow"))


def test_the_bits_are_fair_and_independent():
    masks = [draw_scene(2, index)[1] for index in range(200)]
    car = np.array([np.isin(CLASSES.names.index("car"), mask) for mask in masks])
    pillow = np.array([np.isin(CLASSES.names.index("pillow"), mask) for mask in masks])
    for share in (car.mean(), pillow.mean(), (car == pillow).mean()):
        assert 0.4 < share < 0.6


def test_options():
    assert draw_scene(1, 0, size=192)[0].shape == (192, 192, 3)
    wood = {s: np.isin(draw_scene(1, 3, furniture_share=s)[1], AMBIGUOUS["furniture"]).mean() for s in (0.05, 0.4)}
    assert wood[0.05] < wood[0.4]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strip": [18, 30]}, r"data\.strip=\[18, 30\].*22 pixels at least"),
        ({"size": 1024}, r"data\.size=1024.*78 to 512 pixels"),
        ({"cue_radius": [9, 8]}, r"data\.cue_radius=\[9, 8\].*\[smallest, largest\]"),
        ({"furniture_share": 0}, r"data\.furniture_share=0 "),
    ],
)
def test_options_that_make_no_scene_are_named(wrong, message):
    with pytest.raises(ConfigError, match=message):
        ContextScenes(**wrong)
