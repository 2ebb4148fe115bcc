"""Pictures of what a head does with an image: where the context of one pixel came from, and what the head shows of its
inside (class probabilities, channel weights, gates, features)."""

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from contextseg import viz
from contextseg.classes import ClassSet
from contextseg.contract import IGNORE_INDEX

MOST = 16  # maps shown of one kind: those with the highest peaks, of FEATURES the same channels, evenly spread
FEATURES = ("decoder_before", "decoder_after", "encoder_before", "encoder_after")
OWN_SCALE = (*FEATURES, "regions")  # channels without a common scale; regions each sum to one
SAME_CHOICE = {"gather": "distribute"}  # a descriptor is shown in both, the ones that are handed out most


def context_picture(image: np.ndarray, labels: np.ndarray, maps: dict, point: tuple[int, int], classes) -> np.ndarray:
    """Image uint8 (H, W, 3), labels (H, W), named maps (h, w) -> a sheet uint8 (H', W', 3), the pixel marked."""
    return marked_sheet(context_tiles(image, labels, maps, classes), point, image.shape)


def context_tiles(image: np.ndarray, labels: np.ndarray, maps: dict, classes: ClassSet) -> dict[str, np.ndarray]:
    """The same -> what stands on that sheet, each of the image's size and not marked yet: uint8 (H, W, 3) by name."""
    tiles = {"image": image, "prediction": viz.colour_mask(labels, classes)}
    return tiles | {name: viz.heat(heat, image) for name, heat in maps.items()}


def marked_sheet(tiles: dict[str, np.ndarray], point: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """Named pictures of one image of `shape` (H, W, 3) -> a sheet (H', W', 3), the pixel (x, y) marked on each."""
    marked = [viz.caption(mark(viz.enlarge(tile), point, shape), name) for name, tile in tiles.items()]
    return viz.sheet(marked, columns=min(len(marked), 5))


def inside_picture(
    inside: dict[str, Tensor], classes: ClassSet, shares: np.ndarray | None = None, most_maps: int = MOST
) -> np.ndarray:
    """What `inside_maps` returns -> a picture uint8 (H, W, 3): bars, then a row of maps for each kind.

    `shares`: true class shares (K,), beside the class probabilities; `most_maps`: how many are shown of one kind.
    """
    rows = []
    for name, values in inside.items():
        if values.ndim == 1:
            by_class = name == "class_probability"
            rows.append(bars(name, values.numpy(), classes if by_class else None, shares if by_class else None))
        else:
            count = min(len(values), most_maps)
            even = torch.linspace(0, len(values) - 1, count).round().int()
            chosen = (even if name in FEATURES else highest(inside.get(SAME_CHOICE.get(name), values), count)).tolist()
            names = classes.names if len(values) == len(classes) else range(len(values))
            most = values.amax((1, 2)) if name in OWN_SCALE else values.amax().expand(len(values))  # white
            tiles = [viz.caption(viz.enlarge(grey(values[i], most[i]), 128), str(names[i])) for i in chosen]
            scale = "each to its own maximum" if name in OWN_SCALE else f"white: {values.max():.2g}"
            rows.append(viz.caption(viz.sheet(tiles, columns=8), f"{name}, {scale}"))
    return viz.sheet(rows, columns=1)


def highest(values: Tensor, count: int) -> Tensor:
    """The numbers of the `count` maps of (n, h, w) with the highest peaks, in order."""
    return values.amax((1, 2)).topk(count).indices.sort().values


def bars(name: str, values: np.ndarray, classes: ClassSet | None = None, truth: np.ndarray | None = None) -> np.ndarray:
    """Values (n,) [of classes, in their colours, with the true ones outlined] -> a bar chart uint8 (H, W, 3)."""
    figure = Figure(figsize=(10, 3.2), dpi=100, layout="constrained")
    axes = figure.add_subplot(title=name if truth is None else f"{name}, black: true share of the pixels")
    places = np.arange(len(values))
    colours = "tab:blue" if classes is None else np.array(classes.palette) / 255
    axes.bar(places, values, color=colours, edgecolor="none" if classes is None else "lightgrey")
    if classes is not None:
        axes.set_xticks(places, classes.names, rotation=60 if len(classes) <= 40 else 90)
    if truth is not None:
        axes.bar(places, truth, color="none", edgecolor="black")
    return viz.rendered(figure)


def grey(values: Tensor, most: Tensor) -> np.ndarray:
    """A map (h, w), not negative -> grey uint8 (h, w, 3), white at `most`."""
    level = (255 * values / most.clamp(min=1e-12)).round().to(torch.uint8).numpy()
    return level[..., None].repeat(3, axis=-1)


def class_shares(mask: np.ndarray, classes: ClassSet) -> np.ndarray:
    """Mask of train ids (H, W) -> share of the valid pixels by class (K,)."""
    counts = np.bincount(mask.ravel(), minlength=256)[: len(classes)]
    return counts / max(counts.sum(), 1)


def ideal_affinity(mask: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Mask (H, W) -> float (hw, hw): 1 where two cells of an (h, w) grid have the same label, CPNet's ideal prior.

    Labels are those nearest to the cells' centres, as in the loss; a cell without a label goes with none.
    """
    labels = F.interpolate(torch.from_numpy(mask)[None, None], size, mode="nearest-exact").flatten()  # (hw,)
    return ((labels[:, None] == labels) & (labels != IGNORE_INDEX)).float()


def mark(picture: np.ndarray, point: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """A ring around the pixel `point` (x, y) of an image of `shape` (H, W, 3), on a picture of it at any size."""
    scale = picture.shape[0] / shape[0]
    x, y = ((value + 0.5) * scale for value in point)
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    for radius, colour in ((7, "black"), (6, "white"), (5, "black")):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour)
    return np.asarray(canvas)
