"""Scales: large uniform areas and thin or small objects, with one fact for both; without it, detail misleads.

Aimed at AGLN's two halves, global enhancement and local refinement (channel resampling, spatial gating). A parasol or a
car in the strip of foliage says whether the ground is sand and sea or road and glass. Thin lines lie on it in pairs, a
dark and a light one side by side: by the parasol the dark ones are poles and the light ones rails, by the car the other
way round. Pebbles of a few pixels lie between. Global context without detail loses the lines. Detail without context
cannot name them. Nor can a sum of the two: the cue flips the meaning of a dark line.
"""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from contextseg.data.factors.factor import MIN_SIDE, Factor
from contextseg.data.painting import FOLIAGE, GRAIN, RIPPLE, car, grid, paint_cue, parasol, patch, turned, wavy_line
from contextseg.typed import Count, Natural


class Scales(Factor):
    """Draw `lines` pairs of lines 2 pixels wide, `gap` from middle to middle, and `pebbles` of 2 pixels radius.

    The cue, of `radius` pixels, stands in a strip of height `strip`.
    """

    paints = ("foliage", "sand", "road", "sea", "glass", "parasol", "car", "pole", "rail", "pebble")
    thin = ("pole", "rail", "pebble")

    def __init__(
        self,
        *,
        lines: Count = 4,
        gap: Annotated[int, Ge(2), Le(8)] = 3,
        pebbles: Natural = 6,
        radius: Annotated[int, Ge(5), Le(12)] = 9,
        strip: Count = 26,
    ):
        self.lines, self.gap, self.pebbles, self.radius, self.strip = lines, gap, pebbles, radius, strip
        self.require(lines >= 1 and pebbles >= 0, "one pair of lines or more, and no fewer than 0 pebbles")
        self.require(2 <= gap <= 8, "2 <= gap <= 8, so that a coarse map does not part the lines of a pair")
        fits = f"5 <= radius <= 12 and 2 radius + 2 <= strip <= {MIN_SIDE // 2}"
        self.require(5 <= radius <= 12 and 2 * radius + 2 <= strip <= MIN_SIDE // 2, fits)

    def draw(self, rng: np.random.Generator, size: int, flip: bool) -> tuple[np.ndarray, np.ndarray]:
        """Draw as `Factor.draw` says."""
        scene = int(rng.integers(2)) ^ flip
        shape = height, width = (size - self.strip, size)
        image, mask = patch(rng, FOLIAGE, (size, size)), np.zeros((size, size), np.uint8)
        ground, labels = image[self.strip :], mask[self.strip :]
        water = wavy_line(rng, shape) > 0
        ground[:] = np.where(water[..., None], patch(rng, RIPPLE, shape), patch(rng, GRAIN, shape))
        labels[:] = 1 + 2 * water + scene
        for _ in range(self.lines):
            along, across = turned(rng, shape, *(rng.uniform(0.1, 0.9, 2) * shape))
            length = rng.integers(12, 25)
            for light, side in enumerate((-self.gap / 2, self.gap / 2)):  # all angles, hence either side
                line = (abs(along) < length) & (abs(across - side) < 1)
                ground[line], labels[line] = (25, 235)[light], 7 + (scene ^ light)
        y, x = grid(height, width)
        for _ in range(self.pebbles):
            row, column = rng.uniform(0.05, 0.95, 2) * shape
            pebble = (y - row) ** 2 + (x - column) ** 2 <= 4
            ground[pebble], labels[pebble] = (200, 60, 40), 9

        column = int(rng.integers(self.radius + 1, width - self.radius))
        paint_cue(rng, (parasol, car)[scene], 5 + scene, self.radius, (self.strip // 2, column), mask, image)
        return image, mask
