"""Prediction in windows that overlap, and the padding of images that are smaller."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Le
from torch import Tensor

from contextseg.errors import ConfigError
from contextseg.inference.predictor import Network, Predictor
from contextseg.inference.views import WindowView
from contextseg.typed import Colour, Count

PAD_COLOUR = (124, 116, 104)  # RGB: the mean of ImageNet, what training fills with unless a recipe says otherwise


class SlidingWindow(Predictor):
    """Average the probabilities of windows that overlap, at image size.

    crop          height and width of the window in pixels, one number for a square
    stride        step between windows as a fraction of the crop, above 0 and at most 1
    window_batch  windows in one pass, which bounds the memory for any image
    pad           of an image smaller than the crop: False, none, the window is as small as the image; True, a border
                  below and to the right, cut off again; "grid", such a border up to the next whole
                  step, so that no window is moved back (PyTorch-Encoding)

    fill          RGB of the border; None: what the network was trained with (`filling`)

    Raises `ConfigError` for a value outside these ranges.
    """

    def __init__(
        self,
        crop: Count | tuple[Count, Count],
        stride: Annotated[float, Gt(0), Le(1)] = 2 / 3,
        window_batch: Count = 4,
        pad: bool | Literal["grid"] = False,
        fill: Colour | None = None,
    ):
        height, width = (crop, crop) if isinstance(crop, int) else crop
        if not 0 < stride <= 1:
            raise ConfigError(f"eval.predictor.stride={stride}: give a fraction of the crop, above 0 and at most 1")
        if pad not in (False, True, "grid"):
            raise ConfigError(f"eval.predictor.pad={pad}: choose false, true or grid")
        self.crop, self.stride, self.window_batch, self.pad = (height, width), stride, window_batch, pad
        self.fill: Colour | None = (fill[0], fill[1], fill[2]) if fill else None  # also from a list

    def within(self, window: tuple[int, int] | None) -> Predictor:
        if window is None:
            return self
        if self.crop != tuple(window):
            raise ConfigError(f"eval.predictor.crop={list(self.crop)}: only {list(window)} is taken; give that")
        return SlidingWindow(self.crop, self.stride, self.window_batch, self.pad or True, self.fill)

    def filling(self, colour: Colour) -> Predictor:
        return SlidingWindow(self.crop, self.stride, self.window_batch, self.pad, self.fill or colour)

    def views(self, network: Network, image: Tensor) -> list[WindowView]:
        size = image.shape[-2:]
        if self.pad:
            image = padded(image, self.grid(size) if self.pad == "grid" else self.crop, self.fill or PAD_COLOUR)
        places = windows(image.shape[-2:], self.crop, self.stride)
        logits: list[Tensor] = []
        for start in range(0, len(places), self.window_batch):
            batch = places[start : start + self.window_batch]
            logits += network(torch.cat([image[..., rows, columns] for rows, columns in batch]))
        return [WindowView(size, places, logits)]

    def grid(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the least (height, width) that holds `size` and ends where a window of the regular grid ends."""
        steps = [step_of(side, self.stride) for side in self.crop]
        return tuple(
            crop + step * math.ceil(max(0, side - crop) / step)
            for side, crop, step in zip(size, self.crop, steps, strict=True)
        )


def padded(image: Tensor, least: Sequence[int], fill: Colour = PAD_COLOUR) -> Tensor:
    """Pad images uint8 (..., 3, H, W) to at least (..., 3, *least), below and to the right, with the RGB `fill`."""
    height, width = image.shape[-2:]
    size = (max(height, least[0]), max(width, least[1]))
    if size == (height, width):
        return image
    canvas = image.new_tensor(fill).view(3, 1, 1).repeat(*image.shape[:-3], 1, *size)  # (..., 3, H', W')
    canvas[..., :height, :width] = image
    return canvas


def windows(size: Sequence[int], crop: Sequence[int], stride: float) -> list[tuple[slice, slice]]:
    """Return rows and columns of equal windows that together cover every pixel of an image of `size`.

    `size` and `crop`: (height, width) in pixels. `stride`: fraction of the crop. A window is never larger than the
    image; the last one of a line is moved back to the border.
    """

    def line(length: int, window: int) -> list[slice]:
        window = min(window, length)
        last, step = length - window, step_of(window, stride)
        return [slice(start, start + window) for start in (min(s, last) for s in range(0, last + step, step))]

    return [(rows, columns) for rows in line(size[0], crop[0]) for columns in line(size[1], crop[1])]


def step_of(window: int, stride: float) -> int:
    """Return the step between two windows of `window` pixels, to the nearest pixel.

    PyTorch-Encoding rounds down and CCNet's code up; for their crops of 480 and 769 that is the same.
    """
    return max(1, round(window * stride))
