"""Neighbours: areas of one texture and nearly one colour side by side, of different classes.

Aimed at separating context of the same class from that of other classes: CPNet's intra and inter prior and its
affinity loss. Groups of areas lie across each other and differ by tints, which change from image to image. Along one
side of the image each group has an area with a ring: a light one in half of the groups, a dark one in the others. By it
all areas of the group are of class `light_area` or `dark_area`. Pooling over the image always finds as many rings of
each kind, and the same mean tint with the light as with the dark ones: the tints lie on a circle, by turns of either
class. Only a network that separates the groups knows which ring belongs to an area.
"""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from contextseg.data.factors.factor import MIN_SIDE, Factor
from contextseg.data.painting import circle, grained, grid, nearest


class Neighbours(Factor):
    """Draw `cells` areas of `groups` groups (an even number), with rings of `radius` pixels, 3 thick.

    `tint`: the distance from one colour to the next in grey levels (RGB).
    """

    paints = ("light_area", "dark_area")

    def __init__(
        self,
        *,
        groups: Annotated[int, Ge(4)] = 4,
        cells: Annotated[int, Ge(5)] = 10,
        tint: Annotated[float, Gt(0), Le(60)] = 40,
        radius: Annotated[int, Ge(5), Le(12)] = 7,
    ):
        self.groups, self.cells, self.tint, self.radius = groups, cells, tint, radius
        many = "an even number of groups from 4, and more cells"
        self.require(groups >= 4 and groups % 2 == 0 and cells > groups, many)
        self.require(0 < tint <= 60 and 5 <= radius <= 12, "0 < tint <= 60 and 5 <= radius <= 12")
        fits = f"radius groups < {2 * MIN_SIDE / 5:g}, so that no rings meet"
        self.require(5 * radius * groups < 2 * MIN_SIDE, fits)

    def draw(self, rng: np.random.Generator, size: int, flip: bool) -> tuple[np.ndarray, np.ndarray]:
        """Draw as `Factor.draw` says."""
        order = rng.permutation(self.groups)
        dark = order % 2 ^ flip
        group = np.concatenate([np.arange(self.groups), rng.integers(self.groups, size=self.cells - self.groups)])
        along = (np.arange(self.groups) + rng.uniform(0.4, 0.6, self.groups)) * size / self.groups
        first = np.stack([rng.uniform(10, 14, self.groups), along], axis=1)
        others = rng.uniform((40, 0), (size, size), (self.cells - self.groups, 2))
        areas = group[nearest(np.concatenate([first, others]), (size, size))]
        colours = circle(rng, self.groups, self.tint)[order]
        image = grained(rng, colours, areas, amplitude=16)
        mask = dark[areas].astype(np.uint8)

        y, x = grid(size, size)
        for number, (row, column) in enumerate(first):
            distance = np.hypot(y - row, x - column)
            image[distance <= self.radius] = (240, 15)[dark[number]]
            image[distance <= self.radius - 3] = colours[number]
            mask[distance <= self.radius] = dark[number]
        return image, mask
