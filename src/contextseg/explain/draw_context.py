"""Draw the context of one pixel: a sheet of the image, the prediction, and each context map."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from contextseg import viz
from contextseg.classes import ClassSet
from contextseg.viz import Picture

MAX_COLUMNS = 6  # tiles in a row


def context_picture(
    image: Picture, labels: NDArray, maps: Mapping[str, Tensor], point: tuple[int, int], classes: ClassSet
) -> Picture:
    """Draw an image (H, W, 3), its labels (H, W) and named maps (h, w) as a sheet uint8 (H', W', 3).

    Of a clip (T, H, W, 3) the middle frame is the image, and each frame has its part of the maps (T, h, w). The pixel
    `point` (x, y) is marked on each; the predicted classes and their colours come last.
    """
    tiles = marked(context_tiles(image, labels, maps, point, classes), point, image.shape[-3:])
    names = viz.legend(classes, rows=max(1, tiles[0].shape[0] // viz.LINE), shown=np.unique(labels).tolist())
    return in_rows([*tiles, names])


def context_tiles(
    image: Picture, labels: NDArray, maps: Mapping[str, Tensor], point: tuple[int, int], classes: ClassSet
) -> dict[str, Picture]:
    """Draw the tiles of that sheet, each of the image's size and not marked yet: uint8 (H, W, 3) by caption.

    A caption has two lines: a name, and the pixel, its predicted class, or the range of a map. Each map is scaled to
    its maximum, over all frames, so only the range shows that a map is nearly uniform.
    """
    x, y = point
    frames = image if image.ndim == 4 else image[None]
    tiles = {
        f"image\npixel {x}, {y}": frames[len(frames) // 2],
        f"prediction\n{classes.names[labels[y, x]]}": viz.colour_mask(labels, classes),
    }
    for name, values in maps.items():
        each = by_frame({name: values})
        shown = frames if len(frames) == len(each) else [frames[len(frames) // 2]] * len(each)
        for (key, part), frame in zip(each.items(), shown, strict=True):
            tiles[f"{key}\n{extent(part)}"] = viz.heat(part, frame, float(values.max()))
    return tiles


def by_frame(maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give each frame of a clip a map (h, w) and a name: (T, h, w) "context" becomes "context, frame -1" and so on."""
    found = {}
    for name, values in maps.items():
        if values.ndim == 2:
            found[name] = values
        else:
            found |= {f"{name}, frame {t - len(values) // 2:+d}": part for t, part in enumerate(values)}
    return found


def extent(values: Tensor) -> str:
    """Return the range of a map in words: "0.0031 to 0.052"."""
    return f"{values.min():.2g} to {values.max():.2g}"


def marked_sheet(tiles: Mapping[str, Picture], point: tuple[int, int], shape: tuple[int, ...]) -> Picture:
    """Draw pictures of one image of `shape` (H, W, 3), by their captions, as a sheet (H', W', 3) with marks."""
    return in_rows(marked(tiles, point, shape))


def marked(tiles: Mapping[str, Picture], point: tuple[int, int], shape: tuple[int, ...]) -> list[Picture]:
    """Draw the mark on each tile, enlarged, under captions of the same number of lines."""
    lines = max(text.count("\n") for text in tiles)
    return [
        viz.caption(mark(viz.enlarge(tile), point, shape), text + "\n" * (lines - text.count("\n")))
        for text, tile in tiles.items()
    ]


def mark(picture: Picture, point: tuple[int, int], shape: tuple[int, ...]) -> Picture:
    """Draw a ring around the pixel `point` (x, y) of an image of `shape` (H, W, 3), on a picture of it at any size."""
    scale = picture.shape[0] / shape[0]
    x, y = ((value + 0.5) * scale for value in point)
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    for radius, colour in ((7, "black"), (6, "white"), (5, "black")):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour)
    return np.asarray(canvas)


def in_rows(tiles: list[Picture]) -> Picture:
    """Draw a sheet with as few rows as possible, of about the same length."""
    rows = -(-len(tiles) // MAX_COLUMNS)
    return viz.sheet(tiles, columns=-(-len(tiles) // rows))
