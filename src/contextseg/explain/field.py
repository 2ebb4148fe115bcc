"""The effective receptive field: which pixels of the image the score of a pixel depends on, and how much.

Luo et al., "Understanding the effective receptive field in deep convolutional neural networks", NeurIPS 2016.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contextseg.explain.look import Look
from contextseg.segmenter import Segmenter


class Field(NamedTuple):
    """Hold the field of one pixel of one image.

    energy  (H, W), share of each pixel of the image in the squared gradient; sums to 1
    pixel   (row, column), the pixel
    centre  (rows, columns) from it to the centre of the place of the logits that answers for it
    """

    energy: NDArray[np.float64]
    pixel: tuple[int, int]
    centre: tuple[float, float]

    def distances(self) -> NDArray[np.float64]:
        """Return how far each pixel is from the centre, in pixels (H, W)."""
        sides = zip(self.energy.shape, self.pixel, self.centre, strict=True)
        rows, columns = (np.arange(side) - at - apart for side, at, apart in sides)
        return np.hypot(rows[:, None], columns[None])

    def outwards(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the distances of all pixels, the nearest first, and the share of the energy up to each, (HW,)."""
        far = self.distances().ravel()
        order = np.argsort(far, kind="stable")
        return far[order], np.cumsum(self.energy.ravel()[order])

    def within(self, radii: Sequence[float] | NDArray) -> NDArray[np.float64]:
        """Return the share of the energy within each radius in pixels, (n,)."""
        far, held = self.outwards()
        return np.concatenate([[0], held])[np.searchsorted(far, radii, side="right")]

    def radius(self, share: float) -> float:
        """Return the least radius in pixels that holds a share of the energy."""
        far, held = self.outwards()
        return float(far[np.searchsorted(held, share * held[-1] * (1 - 1e-9))])


def receptive_field(network: Segmenter, image: Tensor, point: tuple[int, int]) -> Field | None:
    """Compute how much the score of the class predicted at the pixel (x, y) depends on each pixel of an image.

    The image is uint8 (3, H, W). The energy is the squared gradient, summed over the colours. It is 0 where a network
    that takes one image size only (`Segmenter.window`) does not look. Returns None if the score depends on no pixel:
    every unit on the way is off. Raises `ConfigError` if the pixel lies outside the image, or if the head needs the
    ground truth.
    """
    look = Look(network, image)
    rows, columns = look.area(point)
    batch = look.canvas[..., rows, columns].to(network.backbone.mean.dtype).clone().requires_grad_()
    with torch.enable_grad():
        logits = network.logits(batch)
        (row, height), (column, width) = (
            place(at - area.start, logits.shape[dim], area.stop - area.start)
            for at, area, dim in ((point[1], rows, -2), (point[0], columns, -1))
        )
        (gradient,) = torch.autograd.grad(logits[0, :, row, column].max(), batch)
    canvas = torch.zeros(look.canvas.shape[-2:], dtype=torch.float64)
    canvas[rows, columns] = gradient[0].double().square().sum(0).cpu()
    energy = canvas[: look.size[0], : look.size[1]]
    if not energy.sum() > 0:
        return None
    middle = rows.start + (row + 0.5) * height - 0.5, columns.start + (column + 0.5) * width - 0.5
    centre = middle[0] - point[1], middle[1] - point[0]
    return Field((energy / energy.sum()).numpy(), (point[1], point[0]), centre)


def place(at: int, count: int, side: int) -> tuple[int, float]:
    """Return the place of a pixel among `count` places along a side, and how many pixels a place has."""
    return at * count // side, side / count


def average(fields: Iterable[Field]) -> Field | None:
    """Average fields, which may be of images of several sizes, with their pixels on one another; None without a field.

    Two are kept at once.
    """
    total, count = None, 0
    for one in fields:
        total, count = one if total is None else summed(total, one), count + 1
    if total is None:
        return None
    energy, pixel, centre = total
    return Field(energy / count, pixel, (centre[0] / count, centre[1] / count))


def summed(one: Field, other: Field) -> Field:
    """Add two fields with their pixels on one another."""
    before = [max(field.pixel[axis] for field in (one, other)) for axis in (0, 1)]
    after = [max(field.energy.shape[axis] - field.pixel[axis] for field in (one, other)) for axis in (0, 1)]
    energy = np.zeros((before[0] + after[0], before[1] + after[1]))
    for field in (one, other):
        top, left = before[0] - field.pixel[0], before[1] - field.pixel[1]
        energy[top : top + field.energy.shape[0], left : left + field.energy.shape[1]] += field.energy
    centre = one.centre[0] + other.centre[0], one.centre[1] + other.centre[1]
    return Field(energy, (before[0], before[1]), centre)
