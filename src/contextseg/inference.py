"""Prediction over any callable `network(image uint8 (B, 3, H, W)) -> logits (B, K, h, w)`."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from contextseg.contract import ConfigError
from contextseg.layers.resize import argmax_resized, resize

Network = Callable[[Tensor], Tensor]
PAD_COLOUR = (124, 116, 104)  # RGB; what training pads with


class Predictor:
    """Base of the ways to predict: a subclass says what the probabilities are. No gradient is recorded.

    `size` is the (height, width) of the result, that of the image by default.
    """

    def probabilities(self, network: Network, image: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Image uint8 (B, 3, H, W) -> float32 (B, K, *size) that sums to one over the classes."""
        raise NotImplementedError

    def within(self, window: Sequence[int] | None) -> "Predictor":
        """The same for a network that takes images of `window` (height, width) only (`Head.window`); None: any."""
        if window is None:
            return self
        raise ConfigError(f"{type(self).__name__} cannot predict in windows of {window[0]}x{window[1]} only")

    def __call__(self, network: Network, image: Tensor, size: Sequence[int] | None = None) -> Tensor:
        """Image uint8 (B, 3, H, W) -> labels uint8 (B, *size)."""
        return self.probabilities(network, image, size).argmax(1).to(torch.uint8)


class WholeImage(Predictor):
    """One pass over the whole image at its own size; labels never need the full (B, K, H, W) map.

    A network that takes one size only gets windows of it.
    """

    def within(self, window: Sequence[int] | None) -> Predictor:
        return self if window is None else SlidingWindow(window, pad=True)

    @torch.no_grad()
    def probabilities(self, network: Network, image: Tensor, size: Sequence[int] | None = None) -> Tensor:
        return resize(network(image).float(), size or image.shape[-2:]).softmax(1)

    @torch.no_grad()
    def __call__(self, network: Network, image: Tensor, size: Sequence[int] | None = None) -> Tensor:
        return argmax_resized(network(image).float(), size or image.shape[-2:])


class SlidingWindow(Predictor):
    """Windows that overlap, their probabilities averaged at image size.

    crop          height and width of the window in pixels, one number for a square
    stride        step between windows as a fraction of the crop, above 0 and at most 1
    window_batch  windows in one pass, which bounds the memory whatever the batch
    pad           what an image smaller than the crop gets: False, a window of its own size, so that no padding is
                  invented; True, a border of the mean colour below and to the right, cut off again

    Raises `ConfigError` for a value outside these ranges.
    """

    def __init__(self, crop: int | Sequence[int], stride: float = 2 / 3, window_batch: int = 4, pad: bool = False):
        crop = (crop, crop) if isinstance(crop, int) else tuple(crop)
        if len(crop) != 2 or min(crop) < 1:
            raise ConfigError(f"eval.predictor.crop={list(crop)}: give [height, width] in pixels, each 1 or more")
        if not 0 < stride <= 1:
            raise ConfigError(f"eval.predictor.stride={stride}: give a fraction of the crop, above 0 and at most 1")
        if window_batch < 1:
            raise ConfigError(f"eval.predictor.window_batch={window_batch}: give 1 or more")
        self.crop, self.stride, self.window_batch, self.pad = crop, stride, window_batch, pad

    def within(self, window: Sequence[int] | None) -> Predictor:
        if window is None:
            return self
        if self.crop != tuple(window):
            raise ConfigError(f"eval.predictor.crop={list(self.crop)}: the head takes {list(window)} only; give that")
        return SlidingWindow(window, self.stride, self.window_batch, pad=True)

    @torch.no_grad()
    def probabilities(self, network: Network, image: Tensor, size: Sequence[int] | None = None) -> Tensor:
        height, width = image.shape[-2:]
        if self.pad:
            image = padded(image, self.crop)
        full = image.shape[-2:]
        places = [(i, *place) for i in range(len(image)) for place in windows(full, self.crop, self.stride)]
        total = None
        for start in range(0, len(places), self.window_batch):
            batch = places[start : start + self.window_batch]
            crops = torch.stack([image[i, :, rows, columns] for i, rows, columns in batch])
            parts = resize(network(crops).float(), crops.shape[-2:]).softmax(1)
            if total is None:
                total = parts.new_zeros(len(image), parts.shape[1], *full)
            for (i, rows, columns), part in zip(batch, parts, strict=True):
                total[i, :, rows, columns] += part
        average = total.div_(total.sum(1, keepdim=True))  # every window has added one to the sum over the classes
        return resize(average[..., :height, :width], size or (height, width))


def padded(image: Tensor, least: Sequence[int]) -> Tensor:
    """Image uint8 (B, 3, H, W) -> at least (B, 3, *least), the border below and to the right in `PAD_COLOUR`."""
    height, width = image.shape[-2:]
    size = (max(height, least[0]), max(width, least[1]))
    if size == (height, width):
        return image
    canvas = image.new_tensor(PAD_COLOUR).view(3, 1, 1).repeat(len(image), 1, *size)  # (B, 3, H', W')
    canvas[..., :height, :width] = image
    return canvas


def windows(size: Sequence[int], crop: Sequence[int], stride: float) -> list[tuple[slice, slice]]:
    """Rows and columns of equal windows that together cover every pixel of an image of `size`.

    size, crop: (height, width) in pixels; stride: fraction of the crop. A window is never larger than the image; the
    last one of a line is moved back to the border.
    """

    def line(length: int, window: int) -> list[slice]:
        window = min(window, length)
        last, step = length - window, max(1, round(window * stride))
        return [slice(start, start + window) for start in (min(s, last) for s in range(0, last + step, step))]

    return [(rows, columns) for rows in line(size[0], crop[0]) for columns in line(size[1], crop[1])]
