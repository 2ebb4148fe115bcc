"""Facts: several independent ones that share their classes. A card says of each material whether it is light or dark.

Aimed at the number of vectors that gather context: AGLN's descriptors, OCR's regions. The ground is a mosaic of
materials that differ in hue only. A card for each lies in the strip of foliage, lighter or
darker than the material itself, and by it all tiles of the material are of class `light_tile` or `dark_tile`, whatever
the others are. A single vector may hold every pair of hue and brightness, but each pixel must then find its own pair.
"""

from typing import Annotated

import numpy as np
from annotated_types import Ge

from contextseg.data.factors.factor import MIN_SIDE, Factor
from contextseg.data.painting import FOLIAGE, dealt, grained, inner, mosaic, patch, square
from contextseg.typed import Count


class Facts(Factor):
    """Draw `materials` facts on `cells` tiles; cards of `radius` pixels lie in a strip of height `strip`."""

    paints = ("foliage", "light_tile", "dark_tile")

    def __init__(
        self,
        *,
        materials: Annotated[int, Ge(2)] = 8,
        cells: Annotated[int, Ge(2)] = 10,
        radius: Annotated[int, Ge(2)] = 6,
        strip: Count = 24,
    ):
        self.materials, self.cells, self.radius, self.strip = materials, cells, radius, strip
        self.require(materials >= 2 and cells >= materials, "materials >= 2 and at least as many cells")
        self.require(2 <= radius <= strip // 2 <= MIN_SIDE // 4, f"2 <= radius <= strip / 2 <= {MIN_SIDE // 4}")
        self.require(2 * radius * materials <= MIN_SIDE, f"2 radius materials <= {MIN_SIDE}, so that the cards fit")

    def draw(self, rng: np.random.Generator, size: int, flip: bool) -> tuple[np.ndarray, np.ndarray]:
        """Draw as `Factor.draw` says."""
        dark = rng.integers(2, size=self.materials) ^ flip
        angles = 2 * np.pi * (np.arange(self.materials)[:, None] / self.materials - np.arange(3) / 3)
        hues = 62 * np.cos(angles).astype(np.float32)  # (materials, 3), around grey
        tiles = dealt(rng, self.materials, self.cells)[mosaic(rng, (size - self.strip, size), self.cells)]
        image = np.concatenate([patch(rng, FOLIAGE, (self.strip, size)), grained(rng, 128 + hues, tiles)])
        mask = np.zeros((size, size), np.uint8)
        mask[self.strip :] = 1 + dark[tiles]

        for slot, material in enumerate(rng.permutation(self.materials)):
            card = square(rng, slot, self.materials, self.strip, size, self.radius)
            image[card] = 128
            image[inner(card, 1)] = 128 + 0.9 * hues[material] + (60, -60)[dark[material]]
            mask[card] = 1 + dark[material]
        return image, mask
