"""Labels of many images: in batches of equal size, large images in tiles."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from contextseg.errors import ConfigError
from contextseg.inference import Predictor, tiles
from contextseg.segmenter import Segmenter

MAX_BYTES = 2**30  # of the probabilities of one image in tiles


class Labelled(NamedTuple):
    """Hold an image with its result."""

    name: str
    image: np.ndarray  # uint8 (H, W, 3)
    labels: np.ndarray  # uint8 (H, W), train ids
    probabilities: np.ndarray | None  # float16 (K, H, W), if asked for


class Labeller:
    """Label images with a network and a predictor.

    batch_size     images in one pass, consecutive ones of equal size
    tile           auto, none, or the side of the windows in which larger images are predicted
    probabilities  return them too
    """

    def __init__(
        self, network: Segmenter, predictor: Predictor, *, batch_size: int, tile: str | int, probabilities: bool
    ):
        self.network, self.predictor = network, predictor
        self.batch_size, self.tile, self.wanted = batch_size, tile, probabilities

    def side(self, image: np.ndarray) -> int | None:
        """Return the side of the windows for an image; None: it is predicted as a whole."""
        return tiles.side(self.tile, image.shape[-3:-1], len(self.network.named_classes))

    def check(self, name: str, image: np.ndarray) -> None:
        """Raise `ConfigError` if an image's probabilities are wanted and too large."""
        classes = len(self.network.named_classes)
        height, width = image.shape[-3:-1]
        size = 2 * classes * height * width
        if self.wanted and size > MAX_BYTES and self.side(image):
            raise ConfigError(
                f"{name}: {width}x{height} probabilities of {classes} classes are "
                f"{size / 1e9:.1f} GB; leave probabilities out of formats, or cut the image"
            )

    def __call__(self, images: Iterable[tuple[str, np.ndarray]]) -> Iterator[Labelled]:
        """Label images uint8 (H, W, 3), or clips (T, H, W, 3), each with its name -> results in the same order.

        Of a clip the middle frame is labelled, and is the image of the result.
        """
        batch: list[tuple[str, np.ndarray]] = []
        for name, image in images:
            large = self.side(image)
            if batch and (large or image.shape != batch[0][1].shape):
                yield from self._together(batch)
                batch = []
            if large:
                yield self._in_tiles(name, image, large)
                continue
            batch.append((name, image))
            if len(batch) == self.batch_size:
                yield from self._together(batch)
                batch = []
        if batch:
            yield from self._together(batch)

    def _together(self, batch: list[tuple[str, np.ndarray]]) -> Iterator[Labelled]:
        halves: Iterable[np.ndarray | None]
        pixels = self._on_device(torch.stack([_planes(image) for _, image in batch]))
        if self.wanted:
            found = self.predictor.probabilities(self.network.logits, pixels)
            labels, halves = found.argmax(1).to(torch.uint8), found.half().cpu().numpy()
        else:
            labels, halves = self.predictor(self.network.logits, pixels), [None] * len(batch)
        for (name, image), one, half in zip(batch, labels.cpu().numpy(), halves, strict=True):
            yield Labelled(name, _middle(image), one, half)

    def _in_tiles(self, name: str, image: np.ndarray, side: int) -> Labelled:
        labels, top = np.empty(image.shape[-3:-1], np.uint8), 0
        halves = np.empty((len(self.network.named_classes), *labels.shape), np.float16) if self.wanted else None
        for strip in tiles.strips(self._probabilities, _planes(image), side):
            rows = slice(top, top + strip.shape[1])
            labels[rows] = strip.argmax(0).to(torch.uint8).cpu().numpy()
            if halves is not None:
                halves[:, rows] = strip.half().cpu().numpy()
            top = rows.stop
            del strip  # before the next one is made
        return Labelled(name, _middle(image), labels, halves)

    def _probabilities(self, window: Tensor) -> Tensor:
        return self.predictor.probabilities(self.network.logits, self._on_device(window))

    def _on_device(self, image: Tensor) -> Tensor:
        return image.to(self.network.backbone.mean.device)


def _planes(image: np.ndarray) -> Tensor:
    """Return an image (H, W, 3) as (3, H, W), a clip (T, H, W, 3) as (T, 3, H, W): the same memory."""
    return torch.from_numpy(np.moveaxis(image, -1, -3))


def _middle(image: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3), or the middle frame of a clip (T, H, W, 3)."""
    return image if image.ndim == 3 else image[len(image) // 2]
