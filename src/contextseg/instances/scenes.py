"""Generated scenes of discs, boxes and triangles that cover each other, to try a detector on within minutes."""

import numpy as np
from numpy.typing import NDArray

from contextseg.instances.target import Instances

NAMES = ("disc", "box", "triangle")
SMALLEST = 40  # pixels of an instance that must be seen


class InstanceScenes:
    """Generate `count` images of `side` x `side` pixels; a pure function of (seed, index)."""

    names = NAMES

    def __init__(self, count: int, seed: int, *, side: int = 128):
        self.count, self.seed, self.side = count, seed, side

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> tuple[NDArray, Instances]:
        """Draw an image uint8 (side, side, 3) and its instances, two to five; a later one covers those before."""
        rng = np.random.default_rng([self.seed, index])
        rows, columns = np.mgrid[: self.side, : self.side]
        image = np.full((self.side, self.side, 3), rng.integers(40, 200, 3), float)
        masks, labels = np.zeros((0, self.side, self.side), np.uint8), []
        for _ in range(rng.integers(2, 6)):
            label, size = int(rng.integers(len(NAMES))), int(rng.integers(9, 24))
            y, x = rng.integers(size, self.side - size, 2)
            shape = inside(label, rows - y, columns - x, size)
            image[shape] = rng.integers(0, 256, 3)
            masks = np.concatenate([masks * ~shape, shape[None].astype(np.uint8)])
            labels.append(label + 1)
        image += rng.normal(0, 6, image.shape)
        areas = masks.sum((1, 2))
        seen = areas >= SMALLEST
        found = Instances(masks[seen], np.array(labels)[seen], np.zeros(seen.sum(), bool), areas[seen].astype(float))
        return image.clip(0, 255).astype(np.uint8), found


def inside(label: int, y: NDArray, x: NDArray, size: int) -> NDArray:
    """Tell which places, from the middle of a shape, lie in it: bool as `y` and `x`. A triangle points up."""
    if NAMES[label] == "disc":
        return x**2 + y**2 <= size**2
    square = (np.abs(x) <= size) & (np.abs(y) <= size)
    return square if NAMES[label] == "box" else square & (2 * np.abs(x) <= y + size)
