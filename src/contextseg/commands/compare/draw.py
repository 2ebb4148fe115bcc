"""The pictures of a comparison: truth, predictions and what changed, with boxes; images in a scatter plot."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from contextseg import viz
from contextseg.classes import ClassSet
from contextseg.commands.compare.regions import GAINED, LOST, MARKED, Region, changes
from contextseg.contract import IGNORE_INDEX
from contextseg.lettering import font
from contextseg.viz import Picture

SIDE = 480  # pixels of the longer side of a tile
COLUMNS, LEGENDS = 3, 7  # of a panel, and of a legend as wide as a panel
COLOURS = {
    GAINED: (20, 105, 235),
    LOST: (235, 95, 0),
    MARKED: (20, 20, 20),
}  # told apart by all eyes; boxes of losses are dashed too
BOTH_RIGHT, BOTH_WRONG = (228, 231, 235), (120, 124, 130)
DASH, TAG = 7, 16  # pixels: of a dash, and of the square with the number of a box


def panel(
    image: Picture,
    labels: Sequence[NDArray],
    names: Sequence[str],
    other: int,
    classes: ClassSet,
    boxed: Sequence[Region],
) -> Picture:
    """Draw image | truth | what changed, below them the predictions of all networks and the names of the classes.

    `labels`: truth, then those of each of the networks `names`, each (H, W); `other`: the network whose change from the
    first is drawn. Every tile has the boxes.
    """
    truth, first, *_ = labels
    tiles = {
        "image": fitted(image, smooth=True),
        "truth": fitted(viz.colour_mask(truth, classes)),
        f"change from {names[0]} to {names[other]}": fitted(changed(truth, first, labels[1 + other])),
        **{name: fitted(viz.colour_mask(one, classes)) for name, one in zip(names, labels[1:], strict=True)},
    }
    scale = max(tiles["image"].shape[:2]) / max(truth.shape)
    drawn = [viz.caption(with_boxes(tile, boxed, scale), title) for title, tile in tiles.items()]
    present = sorted({label for each in labels for label in np.unique(each).tolist()})
    if len(drawn) % COLUMNS:  # the last row has a free place
        legend = viz.legend(classes, rows=max(1, drawn[0].shape[0] // viz.LINE - 1), shown=present)
        return viz.sheet([*drawn, legend], columns=COLUMNS)
    legend = viz.legend(classes, rows=math.ceil(len(present) / LEGENDS), shown=present)
    rows = [viz.sheet(drawn, columns=COLUMNS), legend]
    wide = max(row.shape[1] for row in rows)
    paper = [np.pad(row, ((0, 0), (0, wide - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(paper)


def fitted(picture: Picture, smooth: bool = False) -> Picture:
    """Resize a picture so that its longer side has `SIDE` pixels; `smooth`: not by nearest neighbours."""
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = Image.Resampling.LANCZOS if smooth and scale < 1 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize(size, way))


def changed(truth: NDArray, first: NDArray, other: NDArray) -> Picture:
    """Colour labels (H, W): gained, lost, right by both, wrong by both, void -> (H, W, 3)."""
    picture = np.full((*truth.shape, 3), BOTH_WRONG, np.uint8)
    picture[first == truth] = BOTH_RIGHT
    for kind, mask in changes(truth, first, other).items():
        picture[mask] = COLOURS[kind]
    picture[truth == IGNORE_INDEX] = viz.VOID
    return picture


def with_boxes(tile: Picture, boxed: Sequence[Region], scale: float) -> Picture:
    """Draw the numbered boxes of regions on a tile that shows the image at a scale: solid, those of losses dashed."""
    canvas = Image.fromarray(tile)
    draw = ImageDraw.Draw(canvas)
    for number, region in enumerate(boxed, 1):
        x, y, width, height = (value * scale for value in region.box)
        corners = (
            max(1, x - 3),
            max(1, y - 3),
            min(tile.shape[1] - 2, x + width + 2),
            min(tile.shape[0] - 2, y + height + 2),
        )
        draw.rectangle(
            (corners[0] - 1, corners[1] - 1, corners[2] + 1, corners[3] + 1), outline=(255, 255, 255), width=5
        )
        if region.kind == LOST:
            dashed(draw, corners)
        else:
            draw.rectangle(corners, outline=COLOURS[region.kind], width=3)
        x, y = min(corners[2] + 2, tile.shape[1] - TAG), max(corners[1] - 2, 0)
        draw.rectangle((x, y, x + TAG, y + TAG), fill=COLOURS[region.kind])
        draw.text((x + TAG / 2, y + TAG / 2), str(number), fill=(255, 255, 255), font=font(str(number)), anchor="mm")
    return np.asarray(canvas)


def dashed(draw: ImageDraw.ImageDraw, corners: tuple[float, float, float, float]) -> None:
    """Draw a dashed rectangle in the colour of losses."""
    left, top, right, bottom = corners
    for start in np.arange(left, right, 2 * DASH):
        for y in (top + 1, bottom - 1):
            draw.line((start, y, min(start + DASH, right), y), fill=COLOURS[LOST], width=3)
    for start in np.arange(top, bottom, 2 * DASH):
        for x in (left + 1, right - 1):
            draw.line((x, start, x, min(start + DASH, bottom)), fill=COLOURS[LOST], width=3)


def scatter(first: NDArray, other: NDArray, names: Sequence[str]) -> Picture:
    """Draw the pixel accuracy of every image (N,) by two networks against each other, percent."""
    figure = Figure(figsize=(4.6, 4.4), dpi=110, layout="constrained")
    low = max(0, np.nanmin([first, other]) - 2)
    axes = figure.add_subplot(xlabel=f"{names[0]}, pixel accuracy, %", ylabel=f"{names[1]}, pixel accuracy, %")
    axes.plot((low, 100), (low, 100), color="#8a8f98", linewidth=1, zorder=1)
    for kind, chosen in ((GAINED, other >= first), (LOST, other < first)):
        colour = [value / 255 for value in COLOURS[kind]]
        axes.scatter(first[chosen], other[chosen], s=11, color=[colour], alpha=0.7, linewidths=0)
        place, where = ((0.04, 0.96), "top") if kind == GAINED else ((0.96, 0.04), "bottom")
        side = "left" if kind == GAINED else "right"
        text = f"{int(chosen.sum())} images no worse" if kind == GAINED else f"{int(chosen.sum())} images worse"
        axes.text(*place, text, transform=axes.transAxes, color=colour, fontsize=9, va=where, ha=side)
    axes.set(xlim=(low, 100.5), ylim=(low, 100.5), aspect="equal")
    return viz.rendered(figure)
