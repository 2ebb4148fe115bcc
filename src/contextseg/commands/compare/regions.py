"""The regions of an image where one network is right and another is wrong."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from contextseg.contract import IGNORE_INDEX

GAINED, LOST, MARKED = "gained", "lost", "marked"
THIN = 90  # a strip thinner than 1/90 of the shorter side is the border of a region, not a region


class Region(NamedTuple):
    """A connected region of one true class.

    kind    gained: the other network is right, the first is wrong; lost: the reverse; marked: neither is meant
    box     x, y of its corner, width, height, pixels
    pixels  of the region, without strips thinner than 1/90 of the shorter side
    truth   its class
    first   the label that the first network gives to most of it
    other   the label that the other network gives to most of it
    """

    kind: str
    box: tuple[int, int, int, int]
    pixels: int
    truth: int
    first: int
    other: int


def changes(truth: NDArray, first: NDArray, other: NDArray) -> dict[str, NDArray[np.bool_]]:
    """Return where the other network gains and loses pixels to the first, each bool (H, W), from labels (H, W)."""
    valid, a, b = truth != IGNORE_INDEX, first == truth, other == truth
    return {GAINED: valid & b & ~a, LOST: valid & a & ~b}


def regions(truth: NDArray, first: NDArray, other: NDArray, least: float = 0.1) -> list[Region]:
    """Find the regions gained and lost, labels (H, W), the largest first; of at least `least` percent of the image."""
    found = [
        region
        for kind, mask in changes(truth, first, other).items()
        for region in connected(kind, mask, truth, first, other)
        if 100 * region.pixels >= least * truth.size
    ]
    return sorted(found, key=lambda region: -region.pixels)


def connected(kind: str, mask: NDArray[np.bool_], truth: NDArray, first: NDArray, other: NDArray) -> Iterator[Region]:
    """Yield the connected regions of a mask bool (H, W), each of one true class; corners connect."""
    side = 1 + 2 * (min(mask.shape) // (2 * THIN))
    for k in np.unique(truth[mask]).tolist():
        thick = cv2.morphologyEx(
            (mask & (truth == k)).astype(np.uint8), cv2.MORPH_OPEN, np.ones((side, side), np.uint8)
        )
        count, numbered, boxes, _ = cv2.connectedComponentsWithStats(thick, connectivity=8)
        for number in range(1, count):
            *box, pixels = boxes[number].tolist()
            inside = numbered == number
            yield Region(kind, tuple(box), pixels, k, most(first[inside]), most(other[inside]))


def most(labels: NDArray) -> int:
    """Return the most frequent of some labels (n,)."""
    return int(np.bincount(labels).argmax())
