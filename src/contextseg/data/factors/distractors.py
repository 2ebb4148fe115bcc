"""Distractors: objects that look present but count as absent, unless a sign shows them.

Aimed at the prediction of the classes that an image holds: CTNet's class probability and its loss. A few small
objects lie on the ground, one of each shape; a sign for each stands in the strip of foliage. An object whose sign shows
its shape is of the class of that shape; where the sign is empty it is a `decoy`. The objects are so small that the
cross-entropy of the pixels says little about the signs; which classes the image holds says it at once.
"""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from contextseg.data.factors.factor import MIN_SIDE, Factor
from contextseg.data.painting import FOLIAGE, GRAIN, grid, inner, patch, square
from contextseg.typed import Count

PITCH = 24, 19  # rows, columns from one place of an object to the next, in pixels

SHAPES = {  # coordinates in units of the radius -> inside
    "disc": lambda y, x: np.hypot(y, x) <= 0.95,
    "square": lambda y, x: np.maximum(abs(y), abs(x)) <= 0.85,
    "diamond": lambda y, x: abs(y) + abs(x) <= 1,
    "cross": lambda y, x: (np.minimum(abs(y), abs(x)) <= 0.3) & (np.maximum(abs(y), abs(x)) <= 1),
    "triangle": lambda y, x: (abs(y) <= 0.8) & (2 * abs(x) <= y + 0.8),
}


class Distractors(Factor):
    """Draw `copies` objects of each of the five shapes, of `radius` pixels, below a strip of height `strip`."""

    paints = ("foliage", "ground", "sign", "decoy", *SHAPES)

    def __init__(
        self, *, copies: Annotated[int, Ge(1), Le(3)] = 1, radius: Annotated[int, Ge(4), Le(7)] = 7, strip: Count = 24
    ):
        self.copies, self.radius, self.strip = copies, radius, strip
        self.require(1 <= copies <= 3, "1 to 3 copies")
        self.require(4 <= radius <= 7 and strip >= 2 * radius + 4, "4 <= radius <= 7 and strip >= 2 radius + 4")
        self.require(strip + PITCH[0] * copies <= MIN_SIDE, f"strip + {PITCH[0]} copies <= {MIN_SIDE}")

    def draw(self, rng: np.random.Generator, size: int, flip: bool) -> tuple[np.ndarray, np.ndarray]:
        """Draw as `Factor.draw` says."""
        absent = rng.integers(2, size=len(SHAPES)) ^ flip
        image = np.concatenate([patch(rng, FOLIAGE, (self.strip, size)), patch(rng, GRAIN, (size - self.strip, size))])
        mask = np.zeros((size, size), np.uint8)
        mask[self.strip :] = 1
        y, x = grid(2 * self.radius + 1, 2 * self.radius + 1)
        insides = [inside(y / self.radius - 1, x / self.radius - 1) for inside in SHAPES.values()]

        rows, columns = (size - self.strip) // PITCH[0], size // PITCH[1]
        places = rng.permutation(rows * columns)[: self.copies * len(SHAPES)]
        for place, shape in zip(places, np.repeat(np.arange(len(SHAPES)), self.copies), strict=True):
            row, column = divmod(int(place), columns)
            top = self.strip + PITCH[0] * row + int(rng.integers(1, PITCH[0] - 2 * self.radius))
            left = PITCH[1] * column + int(rng.integers(1, PITCH[1] - 2 * self.radius))
            window = np.s_[top : top + 2 * self.radius + 1, left : left + 2 * self.radius + 1]
            image[window][insides[shape]] = rng.integers(30, 120, 3)
            mask[window][insides[shape]] = 3 if absent[shape] else 4 + shape

        for slot, shape in enumerate(rng.permutation(len(SHAPES))):
            high, wide = square(rng, slot, len(SHAPES), self.strip, size - 1, self.radius + 1)
            sign = slice(high.start, high.stop + 1), slice(wide.start, wide.stop + 1)
            colour = rng.integers(30, 120, 3)
            image[sign], mask[sign] = 210, 2
            if not absent[shape]:
                image[inner(sign, 1)][insides[shape]] = colour
        return image, mask
