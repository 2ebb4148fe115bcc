"""Drawing what an inspection found: sheets of context maps, and what a head shows as it declares it."""

import numpy as np
import pytest
import torch

from contextseg import viz
from contextseg.classes import ClassSet
from contextseg.contract import Shown
from contextseg.explain import context_picture, inside_picture
from contextseg.explain.affinity import ideal_affinity
from contextseg.explain.draw_context import context_tiles, marked_sheet
from contextseg.explain.draw_inside import chosen, class_shares, grey_maps

CLASSES = ClassSet("two", ("sea", "sand"), ((0, 0, 255), (255, 255, 0)))
IMAGE = np.zeros((128, 128, 3), np.uint8)
MAPS = {"context": torch.full((4, 4), 0.0625), "gradient": torch.arange(16.0).view(4, 4)}


# Sheets of context maps


def test_captions_name_the_class_of_the_pixel_and_the_range_of_each_map():
    labels = np.zeros((128, 128), np.uint8)
    labels[7, 100] = 1
    tiles = context_tiles(IMAGE, labels, MAPS, (100, 7), CLASSES)
    assert list(tiles) == [
        "image\npixel 100, 7",
        "prediction\nsand",
        "context\n0.062 to 0.062",  # uniform, and lit all over
        "gradient\n0 to 15",
    ]
    picture = context_picture(IMAGE, labels, MAPS, (100, 7), CLASSES)
    assert picture.shape == (256 + 2 * viz.LINE, 5 * (256 + viz.GAP) - viz.GAP, 3)
    legend = picture[:, 4 * (256 + viz.GAP) :].reshape(-1, 3).tolist()
    assert all(list(colour) in legend for colour in CLASSES.palette)


def test_every_tile_of_a_sheet_is_marked():
    tiles = {"one": IMAGE, "two": np.zeros((64, 64, 3), np.uint8)}  # both become 256
    sheet = marked_sheet(tiles, (64, 64), IMAGE.shape)[22:]  # less the names
    assert sheet.shape == (256, 256 + 6 + 256, 3)
    bright = [np.argwhere(half.any(-1)).mean(0) for half in (sheet[:, :256], sheet[:, -256:])]
    np.testing.assert_allclose(bright, 129, atol=2)


def test_tiles_stand_side_by_side_whatever_the_lines_of_their_captions():
    sheet = marked_sheet({"one": IMAGE, "two\nlines": IMAGE}, (64, 64), IMAGE.shape)
    left, right = sheet[:, :256], sheet[:, -256:]
    assert np.array_equal(left[2 * viz.LINE :], right[2 * viz.LINE :])
    assert len(sheet) == 2 * viz.LINE + 256


def test_a_clip_has_a_tile_for_each_frame_on_that_frame_and_one_scale():
    clip = np.stack([np.full((64, 64, 3), level, np.uint8) for level in (30, 90, 210)])
    maps = {"context": torch.stack([torch.full((4, 4), value) for value in (0.0, 0.5, 1.0)])}
    tiles = context_tiles(clip, np.zeros((64, 64), np.uint8), maps, (5, 7), CLASSES)
    names = [f"context, frame {t}\n{value} to {value}" for t, value in (("-1", "0"), ("+0", "0.5"), ("+1", "1"))]
    assert list(tiles) == ["image\npixel 5, 7", "prediction\nsea", *names]
    assert np.array_equal(tiles["image\npixel 5, 7"], clip[1])
    for frame, values, name in zip(clip, maps["context"], names, strict=True):
        assert np.array_equal(tiles[name], viz.heat(values, frame, 1.0))
    still = context_tiles(clip[1], np.zeros((64, 64), np.uint8), maps, (5, 7), CLASSES)
    assert list(still) == list(tiles)
    assert context_picture(clip, np.zeros((64, 64), np.uint8), maps, (5, 7), CLASSES).shape[2] == 3


# What a head shows of its inside


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({}, [3, 5, 9]),
        ({"chosen": "even"}, [0, 4, 9]),
        ({"peaks": torch.tensor([1.0, 3, 2, 0, 0, 0, 0, 0, 0, 0])}, [0, 1, 2]),
    ],
)
def test_the_maps_that_are_drawn_are_those_declared(declared, expected):
    values = torch.zeros(10, 2, 2)
    values[[9, 3, 5, 7], 0, 0] = torch.tensor([1.0, 0.8, 0.6, 0.4])
    assert chosen(Shown(values, **declared), 3) == expected
    assert chosen(Shown(values, **declared), 99) == list(range(10))


def test_white_is_the_maximum_of_all_maps_or_of_each():
    values = torch.tensor([0.2, 0.4]).view(2, 1, 1).expand(2, 4, 4)
    for white, levels in (("all", [128, 255]), ("each", [255, 255])):
        picture = grey_maps("maps", Shown(values, white=white), CLASSES)
        left, right = picture[-1, 0, 0], picture[-1, 128 + viz.GAP, 0]
        assert [left, right] == levels


@pytest.mark.slow
def test_only_what_is_by_class_has_the_names_and_colours_of_classes():
    values = torch.tensor([0.2, 0.4])
    plain, coloured, compared = (
        inside_picture({"it": Shown(values, by_class)}, CLASSES, mask)
        for by_class, mask in ((False, IMAGE[..., 0]), (True, None), (True, IMAGE[..., 0]))
    )
    yellow = [255, 255, 0]
    assert yellow not in plain.reshape(-1, 3).tolist()
    assert yellow in coloured.reshape(-1, 3).tolist()
    assert not np.array_equal(coloured, compared)  # the true shares
    maps = values.view(2, 1, 1)
    assert not np.array_equal(grey_maps("it", Shown(maps, True), CLASSES), grey_maps("it", Shown(maps), CLASSES))


def test_shares_are_of_the_valid_pixels():
    mask = np.array([[0, 0, 1, 255]], np.uint8)
    assert class_shares(mask, CLASSES).tolist() == [pytest.approx(2 / 3), pytest.approx(1 / 3)]


def test_fewer_maps_make_a_smaller_picture():
    gates = {"gate": Shown(torch.rand(20, 4, 4))}
    heights = [len(inside_picture(gates, CLASSES, max_maps=count)) for count in (8, 16)]
    assert heights[0] < heights[1]


# What a prior is compared with


def test_the_ideal_affinity_is_one_within_a_class():
    mask = np.array([[3, 3, 7, 7], [3, 3, 7, 7], [255, 255, 3, 3], [255, 255, 3, 3]], np.uint8)
    expected = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 1]]).float()  # rows of 3, 7, none, 3
    assert torch.equal(ideal_affinity(mask, (2, 2)), expected)
