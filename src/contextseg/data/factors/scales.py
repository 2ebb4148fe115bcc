"""Scales: large uniform areas against thin and small objects, one fact for both.

Aimed at AGLN's two halves, global enhancement and local refinement (channel resampling, spatial gating). A parasol or a
car in the strip of foliage says whether the ground is sand and sea or road and glass, and whether the thin lines on it
are poles or rails; pebbles of a few pixels lie between. Global context without detail loses the lines, detail without
context cannot name them.
"""

import numpy as np

from contextseg.data.factors.factor import SMALLEST, Factor
from contextseg.data.painting import FOLIAGE, GRAIN, RIPPLE, car, grid, paint_cue, parasol, patch, turned, wavy_line


class Scales(Factor):
    """`lines` lines 2 pixels wide and `pebbles` of 2 pixels radius; a cue of `radius` in a strip of height `strip`."""

    paints = ("foliage", "sand", "road", "sea", "glass", "parasol", "car", "pole", "rail", "pebble")
    thin = ("pole", "rail", "pebble")

    def __init__(self, *, lines: int = 5, pebbles: int = 6, radius: int = 9, strip: int = 26):
        self.lines, self.pebbles, self.radius, self.strip = lines, pebbles, radius, strip
        self.require(lines >= 1 and pebbles >= 0, "one line or more")
        fits = 5 <= radius <= 12 and 2 * radius + 2 <= strip <= SMALLEST // 2
        self.require(fits, f"5 <= radius <= 12 and 2 radius + 2 <= strip <= {SMALLEST // 2}")

    def draw(self, rng: np.random.Generator, size: int, flip: bool) -> tuple[np.ndarray, np.ndarray]:
        """As in `Factor`."""
        scene = int(rng.integers(2)) ^ flip
        shape = height, width = (size - self.strip, size)
        image, mask = patch(rng, FOLIAGE, (size, size)), np.zeros((size, size), np.uint8)
        ground, labels = image[self.strip :], mask[self.strip :]
        water = wavy_line(rng, shape) > 0
        ground[:] = np.where(water[..., None], patch(rng, RIPPLE, shape), patch(rng, GRAIN, shape))
        labels[:] = 1 + 2 * water + scene
        for _ in range(self.lines):
            along, across = turned(rng, shape, *(rng.uniform(0.1, 0.9, 2) * shape))
            line = (abs(along) < rng.integers(12, 25)) & (abs(across) < 1)
            ground[line], labels[line] = 25, 7 + scene
        y, x = grid(height, width)
        for _ in range(self.pebbles):
            row, column = rng.uniform(0.05, 0.95, 2) * shape
            pebble = (y - row) ** 2 + (x - column) ** 2 <= 4
            ground[pebble], labels[pebble] = 240, 9

        column = int(rng.integers(self.radius + 1, width - self.radius))
        paint_cue(rng, (parasol, car)[scene], 5 + scene, self.radius, (self.strip // 2, column), mask, image)
        return image, mask
