"""Pictures of masks, predictions, attention and scores: uint8 (H, W, 3) RGB arrays, ready for PIL or a logger.

An image is a uint8 tensor (3, H, W), as in a `Batch`, or a uint8 array (H, W, 3); a mask is an integer tensor or
array (H, W). Tensors may live on any device.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich.table import Table
from rich.text import Text
from torch import Tensor

from contextseg.classes import ClassSet
from contextseg.contract import IGNORE_INDEX
from contextseg.errors import ConfigError
from contextseg.layers.resize import resize
from contextseg.lettering import axis_labels, drawable, font, names_of_classes

Picture = NDArray[np.uint8]  # (H, W, 3)

LINE = 22  # pixels from one line of a legend or caption to the next
VOID = PAPER = (255, 255, 255)
INK = (40, 40, 40)
RIGHT, WRONG = (205, 213, 222), (200, 30, 40)
GAP = 6  # pixels between tiles


def colour_mask(mask: Tensor | NDArray, classes: ClassSet) -> Picture:
    """Colour a mask (H, W) -> (H, W, 3) by the palette; void is white."""
    table = np.full((256, 3), VOID, dtype=np.uint8)
    table[: len(classes)] = classes.palette
    return table[_array(mask)]


def overlay(image: Tensor | NDArray, mask: Tensor | NDArray, classes: ClassSet, alpha: float = 0.5) -> Picture:
    """Lay `alpha` parts of the class colours of a mask (H, W) over its image; void areas stay bare."""
    image, mask = _picture(image), _array(mask)
    part = alpha * (mask != IGNORE_INDEX)[..., None]
    return _mix(image, colour_mask(mask, classes), part)


def error_map(prediction: Tensor | NDArray, mask: Tensor | NDArray) -> Picture:
    """Colour a prediction (H, W): grey where it is right by the mask (H, W), red where wrong, white where void."""
    prediction, mask = _array(prediction), _array(mask)
    colours = np.array([RIGHT, WRONG, VOID], dtype=np.uint8)
    return colours[np.where(mask == IGNORE_INDEX, 2, prediction != mask)]


def heat(attention: Tensor | NDArray, image: Tensor | NDArray, white: float | None = None) -> Picture:
    """Dim an image and light it where the attention (h, w), not negative, is near its maximum, or near `white`."""
    image = _picture(image)
    small = torch.as_tensor(attention).detach().cpu().float()
    level = resize(small[None, None], image.shape[:2])[0, 0].numpy()
    level = level / max(level.max() if white is None else white, np.finfo(np.float32).tiny)
    colours = 255 * matplotlib.colormaps["inferno"](level)[..., :3]
    grey = np.repeat(image.mean(-1, keepdims=True), 3, axis=-1)
    return _mix(0.7 * grey, colours, 0.9 * np.sqrt(level)[..., None])


def panel(image: Tensor | NDArray, truth: Tensor | NDArray, prediction: Tensor | NDArray, classes: ClassSet) -> Picture:
    """Draw image | truth | prediction | error | names of the classes in one row, small ones enlarged.

    `truth` and `prediction` are masks (H, W).
    """
    tiles = {
        "image": _picture(image),
        "truth": colour_mask(truth, classes),
        "prediction": colour_mask(prediction, classes),
        "error": error_map(prediction, truth),
    }
    pictures = [caption(enlarge(tile), text) for text, tile in tiles.items()]
    present = np.union1d(_array(truth), _array(prediction)).tolist()
    names = legend(classes, rows=max(1, pictures[0].shape[0] // LINE), shown=present)
    return sheet([*pictures, names], columns=len(pictures) + 1)


def enlarge(picture: Picture, side: int = 256) -> Picture:
    """Repeat every pixel as often as the longer side of the picture still fits into `side`."""
    times = max(1, side // max(picture.shape[:2]))
    return picture.repeat(times, 0).repeat(times, 1)


def save(picture: Picture, path: str | Path) -> None:
    """Write a picture and make its folder. Raises `ConfigError` for an extension that names no image format."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        Image.fromarray(picture).save(path)
    except ValueError as error:
        raise ConfigError(f"output={path}: {error}; give a .png or .jpg file") from error


def caption(picture: Picture, text: str) -> Picture:
    """Set a picture under its text, of one or more lines; widen it where a line is longer."""
    lines = [drawable(line, line.encode("ascii", "replace").decode()) for line in text.split("\n")]
    width = max(picture.shape[1], *(math.ceil(font(line).getlength(line)) for line in lines))
    page = np.full((LINE * len(lines) + picture.shape[0], width, 3), PAPER, dtype=np.uint8)
    page[LINE * len(lines) :, : picture.shape[1]] = picture
    canvas = Image.fromarray(page)
    for i, line in enumerate(lines):
        ImageDraw.Draw(canvas).text((width / 2, LINE * (i + 0.5)), line, fill=INK, font=font(line), anchor="mm")
    return np.asarray(canvas)


def sheet(tiles: Sequence[Picture], columns: int) -> Picture:
    """Join pictures into one, row by row, with a thin gap between; smaller ones stand top left in their place."""
    height, width = np.max([tile.shape[:2] for tile in tiles], axis=0) + GAP
    rows = -(-len(tiles) // columns)
    page = np.full((rows * height - GAP, columns * width - GAP, 3), PAPER, dtype=np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * height, i % columns * width
        page[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return page


def legend(classes: ClassSet, rows: int = 20, shown: Sequence[int] | None = None) -> Picture:
    """Draw colour and name of every class and of void, at most `rows` to a column; `shown`: these labels only."""
    swatch = 16
    names = names_of_classes(classes.names)
    known = dict(enumerate(zip(names, classes.palette, strict=True))) | {IGNORE_INDEX: ("void", VOID)}
    entries = [entry for label, entry in known.items() if shown is None or label in shown]
    width = int(max(font(name).getlength(name) for name, _ in entries)) + swatch + 28
    page = Image.new("RGB", (-(-len(entries) // rows) * width, min(rows, len(entries)) * LINE + 8), PAPER)
    draw = ImageDraw.Draw(page)
    for i, (name, colour) in enumerate(entries):
        x, y = i // rows * width + 8, i % rows * LINE + 7
        draw.rectangle((x, y, x + swatch, y + swatch), fill=tuple(colour), outline=INK)
        draw.text((x + swatch + 8, y + swatch / 2), name, fill=INK, font=font(name), anchor="lm")
    return np.asarray(page)


def rendered(figure: Figure) -> Picture:
    """Render a figure of matplotlib as a picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def confusion_picture(confusion: Tensor | NDArray, classes: ClassSet, path: str | Path) -> None:
    """Write a picture of counts (K, K), row truth: of the true pixels of each row, the percentage in each column."""
    confusion_figure(confusion, classes).savefig(path)


def confusion_figure(confusion: Tensor | NDArray, classes: ClassSet) -> Figure:
    """Draw the picture of `confusion_picture` as a figure."""
    counts = _array(confusion).astype(float)
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ticks = range(len(classes))
    side = 3 + min(0.42 * len(classes), 20)
    size = 9 if len(classes) <= 40 else 4
    figure = Figure(figsize=(side + 1, side), dpi=120, layout="constrained")
    axes = figure.add_subplot(xlabel="prediction", ylabel="truth")
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(ticks, rotation=90, fontsize=size, **axis_labels(classes.names))
    axes.set_yticks(ticks, fontsize=size, **axis_labels(classes.names))
    figure.colorbar(picture, label="% of the true pixels", shrink=0.8)
    if len(classes) <= 20:
        for (row, column), value in np.ndenumerate(share.round().astype(int)):
            if value:
                ink = "white" if value > 55 else "black"
                axes.text(column, row, value, ha="center", va="center", fontsize=8, color=ink)
    return figure


def per_class_picture(scores: Mapping, classes: ClassSet, path: str | Path) -> None:
    """Write a picture of `metrics.scores`: IoU of every class as a bar in its colour, the mean as a line.

    Classes stand in their order; one without IoU has a dash.
    """
    figure = Figure(figsize=(6, 1 + 0.2 * len(classes)), dpi=100, layout="tight")
    axes = figure.add_subplot(xlabel="IoU, %", xlim=(0, 108), ylim=(len(classes) - 0.4, -0.6))
    ious = [float(iou) for iou in scores["iou"]]
    colours = [[value / 255 for value in colour] for colour in classes.palette]
    axes.barh(range(len(classes)), np.nan_to_num(ious), color=colours, edgecolor="black", linewidth=0.4)
    for row, iou in enumerate(ious):
        axes.text(np.nan_to_num(iou) + 1, row, _percent(iou), va="center", fontsize=7)
    axes.set_yticks(range(len(classes)), fontsize=7, **axis_labels(classes.names))
    if not math.isnan(scores["miou"]):
        axes.axvline(scores["miou"], color="black", linewidth=0.8, linestyle=":")
        axes.set_title(f"mIoU {_percent(scores['miou'])} ({scores['classes_used']} classes)", fontsize=9)
    figure.savefig(path)


def per_class_table(scores: Mapping, classes: ClassSet) -> Table:
    """Set `metrics.scores` as a table: IoU and accuracy by class, IoU of the groups, then the means.

    Other mIoUs come last, by their names in the scores.
    """
    table = Table("class", title=f"{classes.name}, percent")
    table.add_column("IoU", justify="right")
    table.add_column("accuracy", justify="right")
    for name, colour, iou, acc in zip(classes.names, classes.palette, scores["iou"], scores["acc"], strict=True):
        swatch = Text.assemble(("■ ", "rgb({},{},{})".format(*colour)), name)
        table.add_row(swatch, _percent(iou), _percent(acc))
    table.add_section()
    for group in classes.groups:
        table.add_row(Text(group), _percent(scores[f"iou_{group}"]), "")
    table.add_section()
    table.add_row(
        f"mean of {scores['classes_used']}", _percent(scores["miou"]), _percent(scores["mean_acc"]), style="bold"
    )
    table.add_row("all pixels", "", _percent(scores["pix_acc"]))
    for name in (name for name in scores if name.startswith("miou_")):
        table.add_row(name, _percent(scores[name]), "")
    return table


def _percent(value: float | Tensor) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"


def _array(x: Tensor | NDArray) -> NDArray:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


def _picture(image: Tensor | NDArray) -> Picture:
    return _array(image.permute(1, 2, 0) if isinstance(image, Tensor) else image)


def _mix(below: NDArray, above: NDArray, part: NDArray | float) -> Picture:
    """Mix `part` of `above` with the rest of `below`, rounded."""
    return (below * (1 - part) + above * part).round().astype(np.uint8)
