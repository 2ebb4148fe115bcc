"""Matching: a cue belongs to the region of the same colour, and the colours are new in each image.

Aimed at relations between pixels and pixels, or pixels and regions: self-attention, OCR's pixel-region relation. The
ground is a mosaic of fields in a few colours drawn anew for each image. A card of each colour lies in the strip of
foliage, in a light or a dark frame, and by it the fields of that colour are of class `light_field` or `dark_field`.
A network that does not find the card of the same colour knows only how many frames are light.
"""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from contextseg.data.factors.factor import MIN_SIDE, Factor
from contextseg.data.painting import FOLIAGE, apart, dealt, grained, inner, mosaic, patch, square
from contextseg.typed import Count


class Matching(Factor):
    """Draw `cells` fields in `colours` that differ by about `distance` grey levels (RGB, Euclidean).

    Cards of `radius` pixels with a frame of 3 lie in a strip of height `strip`.
    """

    paints = ("foliage", "light_field", "dark_field")

    def __init__(
        self,
        *,
        colours: Annotated[int, Ge(2)] = 5,
        distance: Annotated[float, Gt(0), Le(120)] = 90,
        cells: Annotated[int, Ge(2)] = 8,
        radius: Annotated[int, Ge(5)] = 8,
        strip: Count = 26,
    ):
        self.colours, self.distance, self.cells, self.radius, self.strip = colours, distance, cells, radius, strip
        self.require(colours >= 2 and cells >= colours, "colours >= 2 and at least as many cells")
        self.require(0 < distance <= 120, "0 < distance <= 120")
        self.require(5 <= radius <= strip // 2 <= MIN_SIDE // 4, f"5 <= radius <= strip / 2 <= {MIN_SIDE // 4}")
        self.require(2 * radius * colours <= MIN_SIDE, f"2 radius colours <= {MIN_SIDE}, so that the cards fit")

    def draw(self, rng: np.random.Generator, size: int, flip: bool) -> tuple[np.ndarray, np.ndarray]:
        """Draw as `Factor.draw` says."""
        dark = rng.integers(2, size=self.colours) ^ flip
        colours = apart(rng.uniform(50, 210, (400, 3)).astype(np.float32), self.colours, self.distance)
        fields = dealt(rng, self.colours, self.cells)[mosaic(rng, (size - self.strip, size), self.cells)]
        image = np.concatenate([patch(rng, FOLIAGE, (self.strip, size)), grained(rng, colours, fields)])
        mask = np.zeros((size, size), np.uint8)
        mask[self.strip :] = 1 + dark[fields]

        for slot, colour in enumerate(rng.permutation(self.colours)):
            card = square(rng, slot, self.colours, self.strip, size, self.radius)
            image[card] = (240, 15)[dark[colour]]
            image[inner(card, 3)] = colours[colour]
            mask[card] = 1 + dark[colour]
        return image, mask
