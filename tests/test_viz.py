"""Pictures: sizes, colours and the treatment of void."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from contextseg import viz
from contextseg.classes import class_set
from contextseg.metrics import count, scores

CLASSES = class_set("context_scenes")
K = len(CLASSES)
BATCH = np.random.default_rng(0).integers(0, 256, (3, 20, 30), dtype=np.uint8)
MASK = (np.arange(600, dtype=np.uint8) % K).reshape(20, 30)
MASK[:4] = 255
PREDICTION = np.where(MASK == 3, 4, MASK % 255).astype(np.uint8)


def test_colour_mask_uses_the_palette_and_leaves_void_white():
    picture = viz.colour_mask(torch.tensor(MASK), CLASSES)
    assert picture.dtype == np.uint8
    assert (picture[:4] == 255).all()
    for k, colour in enumerate(CLASSES.palette):
        assert (picture[np.equal(MASK, k)] == colour).all()


def test_tensor_image_and_array_image_give_one_picture():
    array = BATCH.transpose(1, 2, 0)
    np.testing.assert_array_equal(
        viz.overlay(torch.tensor(BATCH), MASK, CLASSES), viz.overlay(array, torch.tensor(MASK), CLASSES)
    )


def test_overlay_mixes_classes_and_leaves_void_bare():
    image = BATCH.transpose(1, 2, 0)
    picture = viz.overlay(image, MASK, CLASSES, alpha=0.25)
    np.testing.assert_array_equal(picture[:4], image[:4])
    expected = 0.75 * image[10, 10] + 0.25 * np.array(CLASSES.palette[MASK[10, 10]])
    np.testing.assert_allclose(picture[10, 10], expected, atol=0.5)
    np.testing.assert_array_equal(viz.overlay(image, MASK, CLASSES, alpha=0), image)


def test_error_map_has_one_colour_for_each_case():
    picture = viz.error_map(PREDICTION, MASK)
    void, wrong = MASK == 255, MASK == 3
    assert (picture[void] == viz.VOID).all()
    assert (picture[wrong] == viz.WRONG).all()
    assert (picture[~void & ~wrong] == viz.RIGHT).all()


def test_heat_lights_the_maximum():
    attention = torch.zeros(5, 6)
    attention[1, 4] = 1e-6  # attention over many pixels is small
    picture = viz.heat(attention, torch.tensor(BATCH)).astype(int).sum(-1)
    assert picture.shape == (20, 30)
    assert np.unravel_index(picture.argmax(), picture.shape)[0] in range(4, 8)
    grey = viz.heat(torch.zeros(5, 6), torch.tensor(BATCH))
    assert (grey == grey[..., :1]).all()


def test_a_caption_has_lines_and_room_for_the_longest():
    tile = np.full((5, 300, 3), 7, np.uint8)
    assert viz.caption(tile, "one\ntwo").shape == (2 * viz.LINE + 5, 300, 3)
    narrow = viz.caption(tile[:, :8], "longer than the tile")
    assert (narrow[viz.LINE :, :8] == 7).all()
    assert (narrow[viz.LINE :, 8:] == 255).all()
    ink = (narrow[: viz.LINE] != 255).any((0, 2)).nonzero()[0]
    assert 0 <= ink[0] <= 4  # nothing is cut off
    assert narrow.shape[1] - 4 <= ink[-1] < narrow.shape[1]


def test_panel_is_four_tiles_and_a_legend_in_one_row():
    picture = viz.panel(torch.tensor(BATCH), MASK, PREDICTION, CLASSES)
    side = 30 * (256 // 30)
    assert picture.dtype == np.uint8
    assert picture.shape[1] == 5 * side + 4 * viz.GAP
    assert 0 < picture.shape[0] - 20 * (256 // 30) < 40  # the caption


def test_large_picture_is_not_enlarged():
    picture = np.zeros((200, 400, 3), dtype=np.uint8)
    assert viz.enlarge(picture).shape == picture.shape


def test_sheet_places_tiles_row_by_row():
    tiles = [np.full((10, 8, 3), i, dtype=np.uint8) for i in range(3)] + [np.full((5, 4, 3), 3, dtype=np.uint8)]
    picture = viz.sheet(tiles, columns=2)
    assert picture.shape == (20 + viz.GAP, 16 + viz.GAP, 3)
    corners = [(0, 0), (0, 8 + viz.GAP), (10 + viz.GAP, 0), (10 + viz.GAP, 8 + viz.GAP)]
    assert [picture[corner][0] for corner in corners] == [0, 1, 2, 3]
    assert (picture[-1, -1] == viz.PAPER).all()


@pytest.mark.parametrize("rows", [3, 20])
def test_legend_shows_every_colour(rows):
    colours = {tuple(pixel) for pixel in viz.legend(CLASSES, rows).reshape(-1, 3).tolist()}
    assert {tuple(colour) for colour in CLASSES.palette} <= colours


def test_confusion_picture_shows_where_the_true_pixels_went(tmp_path):
    """All pixels of class 3 are taken for class 4, the others are right."""
    confusion = count(torch.tensor(PREDICTION), torch.tensor(MASK), K)
    axes = viz.confusion_figure(confusion, CLASSES).axes[0]
    taken_for = {k: 4 if k == 3 else k for k in range(K)}
    assert [axes.get_xlabel(), axes.get_ylabel()] == ["prediction", "truth"]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == list(CLASSES.names)
    shares = np.zeros((K, K))
    shares[list(taken_for), list(taken_for.values())] = 100
    np.testing.assert_array_equal(axes.images[0].get_array(), shares)
    written = {text.get_position()[::-1]: text.get_text() for text in axes.texts}
    assert written == dict.fromkeys(taken_for.items(), "100")
    viz.confusion_picture(confusion, CLASSES, tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as picture:
        colours = {colour: count for count, colour in picture.convert("RGB").getcolors(2**20)}
    full, none = (tuple(map(int, axes.images[0].cmap(value, bytes=True)[:3])) for value in (1.0, 0.0))
    assert colours[none] > 5 * colours[full] > 5 * K * 100


def test_per_class_picture_shows_every_class_in_its_colour(tmp_path):
    result = scores(count(torch.tensor(PREDICTION), torch.tensor(MASK), K), CLASSES)
    viz.per_class_picture(result, CLASSES, tmp_path / "per_class.png")
    with Image.open(tmp_path / "per_class.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(2**20)}
    present = {tuple(colour) for colour, iou in zip(CLASSES.palette, result["iou"], strict=True) if iou > 10}
    assert present <= colours
    nothing = scores(torch.zeros(K, K), CLASSES)
    viz.per_class_picture(nothing, CLASSES, tmp_path / "nothing.png")


def test_table_shows_classes_groups_and_means():
    confusion = count(torch.tensor(PREDICTION), torch.tensor(MASK), K)
    confusion[7] = confusion[:, 7] = 0
    result = scores(confusion, CLASSES)
    console = Console(width=80, file=io.StringIO())
    console.print(viz.per_class_table(result, CLASSES))
    lines = console.file.getvalue().splitlines()
    for name in (*CLASSES.names, *CLASSES.groups):
        assert any(name in line for line in lines)
    assert any("parasol" in line and " - " in line for line in lines)
    assert any("mean of 11" in line and f"{result['miou']:.1f}" in line for line in lines)
