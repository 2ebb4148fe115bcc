"""Draw the inside of a head, each part as the head declares it (`contract.Shown`)."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from contextseg import viz
from contextseg.classes import ClassSet
from contextseg.contract import Shown
from contextseg.lettering import axis_labels
from contextseg.viz import Picture

MAX_MAPS = 16  # of one kind
MAP_SIDE = 128  # pixels
COLUMNS = 8  # maps in a row


def inside_picture(
    inside: Mapping[str, Shown], classes: ClassSet, mask: NDArray | None = None, max_maps: int = MAX_MAPS
) -> Picture:
    """Draw what `inside_maps` returns: a bar chart or rows of maps for each name, uint8 (H', W', 3).

    `mask`: the true train ids (H, W), whose class shares are drawn beside the class probabilities. `max_maps`: of
    one kind.
    """
    rows = []
    for name, shown in inside.items():
        if shown.values.ndim == 3:
            rows.append(grey_maps(name, shown, classes, max_maps))
        elif shown.by_class:
            truth = None if mask is None else class_shares(mask, classes)
            rows.append(bars(name, shown.values.numpy(), classes, truth))
        else:
            rows.append(bars(name, shown.values.numpy()))
    return viz.sheet(rows, columns=1)


def grey_maps(name: str, shown: Shown, classes: ClassSet, max_maps: int = MAX_MAPS) -> Picture:
    """Draw maps (n, h, w) side by side, each under its class or its number: uint8 (H', W', 3)."""
    values = shown.values
    if shown.white == "each":
        white, scale = values.amax((1, 2)), "each to its own maximum"
    else:
        white, scale = values.amax().expand(len(values)), f"white: {values.max():.2g}"
    tiles = [
        viz.caption(viz.enlarge(grey(values[i], white[i]), MAP_SIDE), text)
        for i, text in named(shown, classes, max_maps).items()
    ]
    return viz.caption(viz.sheet(tiles, COLUMNS), f"{name}, {scale}")


def named(shown: Shown, classes: ClassSet, count: int = MAX_MAPS) -> dict[int, str]:
    """Return the class, or the number, of each map that is drawn, by its index."""
    return {i: classes.names[i] if shown.by_class else str(i) for i in chosen(shown, count)}


def chosen(shown: Shown, count: int) -> list[int]:
    """Return the indices of the maps that are drawn if there is room for `count`, in order."""
    count = min(len(shown.values), count)
    if shown.chosen == "even":
        return torch.linspace(0, len(shown.values) - 1, count).round().int().tolist()
    peaks = shown.values.amax((1, 2)) if shown.peaks is None else shown.peaks
    return peaks.topk(count).indices.sort().values.tolist()


def bars(name: str, values: NDArray, classes: ClassSet | None = None, truth: NDArray | None = None) -> Picture:
    """Draw values (n,) as bars, uint8 (H, W, 3): those of `classes` in their colours, `truth` (n,) as outlines."""
    figure = Figure(figsize=(10, 3.2), dpi=100, layout="constrained")
    axes = figure.add_subplot(title=name if truth is None else f"{name}, black: true share of the pixels")
    places = np.arange(len(values))
    colours = "tab:blue" if classes is None else np.array(classes.palette) / 255
    axes.bar(places, values, color=colours, edgecolor="none" if classes is None else "lightgrey")
    if classes is not None:
        axes.set_xticks(places, rotation=60 if len(classes) <= 40 else 90, **axis_labels(classes.names))
    if truth is not None:
        axes.bar(places, truth, color="none", edgecolor="black")
    return viz.rendered(figure)


def grey(values: Tensor, white: Tensor) -> Picture:
    """Draw a map (h, w), not negative, in grey uint8 (h, w, 3): black is 0, white the number `white`."""
    level = (255 * values / white.clamp(min=1e-12)).round().to(torch.uint8).numpy()
    return level[..., None].repeat(3, axis=-1)


def class_shares(mask: NDArray, classes: ClassSet) -> NDArray:
    """Return the share of each class (K,) in the valid pixels of a mask of train ids (H, W)."""
    counts = np.bincount(mask.ravel(), minlength=256)[: len(classes)]
    return counts / max(counts.sum(), 1)
