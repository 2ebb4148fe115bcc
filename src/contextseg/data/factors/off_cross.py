"""Off the cross: the cue shares neither row nor column with any pixel that needs it.

Aimed at recurrence: CCNet's second loop. A parasol or a car stands in one corner of a broad angle of foliage and
decides the ground opposite, sand and sea or road and glass. One criss-cross step brings to a pixel what lies in its row
and column. That is foliage, which has seen the cue by convolution only if it is near. A second step brings the rest.
"""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from contextseg.data.factors.factor import MIN_SIDE, Factor
from contextseg.data.painting import FOLIAGE, GRAIN, RIPPLE, car, paint_cue, parasol, patch, wavy_line


class OffCross(Factor):
    """Draw a cue of `radius` pixels; `angle`: the width of the foliage as a share of the image's."""

    paints = ("foliage", "sand", "road", "sea", "glass", "parasol", "car")

    def __init__(
        self, *, angle: Annotated[float, Ge(0.25), Le(0.75)] = 0.42, radius: Annotated[int, Ge(5), Le(12)] = 9
    ):
        self.angle, self.radius = angle, radius
        self.require(0.25 <= angle <= 0.75 and 5 <= radius <= 12, "0.25 <= angle <= 0.75 and 5 <= radius <= 12")
        self.require(2 * radius + 5 <= round(angle * MIN_SIDE), f"2 radius + 5 <= {MIN_SIDE} angle")

    def draw(self, rng: np.random.Generator, size: int, flip: bool) -> tuple[np.ndarray, np.ndarray]:
        """Draw as `Factor.draw` says."""
        scene = int(rng.integers(2)) ^ flip
        start = round(self.angle * size)
        shape = (size - start, size - start)
        image, mask = patch(rng, FOLIAGE, (size, size)), np.zeros((size, size), np.uint8)
        water = wavy_line(rng, shape) > 0
        image[start:, start:] = np.where(water[..., None], patch(rng, RIPPLE, shape), patch(rng, GRAIN, shape))
        mask[start:, start:] = 1 + 2 * water + scene

        row, column = rng.integers(self.radius + 1, self.radius + 5, 2)
        paint_cue(rng, (parasol, car)[scene], 5 + scene, self.radius, (row, column), mask, image)
        return image, mask
