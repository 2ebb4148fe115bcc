"""The images that the page shows: examples with their truth, and the latest uploads."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contextseg.data.source import digest
from contextseg.errors import ConfigError
from contextseg.viz import Picture

UPLOADS = 8  # that are kept


class Example(NamedTuple):
    """Hold an image uint8 (H, W, 3) and its true train ids uint8 (H, W), void 255; None: unknown."""

    name: str
    image: Picture
    truth: NDArray | None = None


class Exhibit(NamedTuple):
    """Hold an image as the networks see it, its truth at that size, and the size (H, W) it was given in."""

    key: str  # names the content: a link finds it again
    name: str
    image: Picture
    truth: NDArray | None
    given: tuple[int, int]

    def facts(self) -> dict:
        """Return what the page needs to know before it asks for pixels."""
        height, width = self.image.shape[:2]
        size = {"width": width, "height": height, "given": [self.given[1], self.given[0]]}
        return {"key": self.key, "name": self.name, "truth": self.truth is not None} | size


class Gallery:
    """Keep examples for good and uploads while they are among the latest, scaled down to `longest_side` pixels."""

    def __init__(self, examples: Iterable[Example], longest_side: int):
        self.longest_side = longest_side
        self.examples = {exhibit.key: exhibit for exhibit in map(self.hang, examples)}
        self.uploads: OrderedDict[str, Exhibit] = OrderedDict()

    def hang(self, example: Example) -> Exhibit:
        """Scale an image and its truth down, if its longer side exceeds `longest_side`."""
        name, image, truth = example
        small = scaled_down(image, self.longest_side)
        if truth is not None and small.shape != image.shape:
            truth = np.asarray(Image.fromarray(truth).resize(small.shape[1::-1], Image.Resampling.NEAREST))
        key = digest(str(small.shape).encode() + small.tobytes())
        return Exhibit(key, name, small, truth, (image.shape[0], image.shape[1]))

    def add(self, name: str, image: Picture) -> Exhibit:
        """Keep an uploaded image; an example with the same pixels is that example."""
        exhibit = self.hang(Example(name, image))
        if exhibit.key in self.examples:
            return self.examples[exhibit.key]
        self.uploads.pop(exhibit.key, None)
        self.uploads[exhibit.key] = exhibit
        if len(self.uploads) > UPLOADS:
            self.uploads.popitem(last=False)
        return exhibit

    def __getitem__(self, key: str) -> Exhibit:
        """Return the image called `key`. Raises `ConfigError` if it is not kept (any more)."""
        exhibit = self.examples.get(key) or self.uploads.get(key)
        if exhibit is None:
            raise ConfigError("this image is not on the page (any more): choose another, or upload it again")
        return exhibit


def scaled_down(image: Picture, longest_side: int) -> Picture:
    """Return an image uint8 (H, W, 3), scaled down to `longest_side` if its longer side exceeds that."""
    small = Image.fromarray(image)
    small.thumbnail((longest_side, longest_side))
    return np.array(small)
