"""Prediction of large images in windows that overlap, strip by strip, so that the memory does not grow with the image.

In an overlap the windows are blended. The outer 3/32 of a window's side have weight 0, because the network sees the
border of the window there; over the next 1/16 of the side the weight rises to 1. So there is no seam, and a network
whose outputs depend on less than 3/32 of the side around them has the same result as on the whole image.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from contextseg.errors import ConfigError

GRID = 32  # pixels; windows start at multiples of it, the largest stride of a network
STEP = 4 * GRID  # a side is a multiple of it, so that three quarters of it lie on the grid
MAX_PIXELS = 2**22  # tile=auto cuts larger images
MAX_STRIP_BYTES = 2**28  # of the probabilities; tile=auto takes smaller windows for larger strips


def check(tile: str | int) -> None:
    """Raise `ConfigError` unless `tile` is auto, none or a side that windows can have."""
    multiple = isinstance(tile, int) and not isinstance(tile, bool) and tile > 0 and tile % STEP == 0
    if tile not in ("auto", "none") and not multiple:
        raise ConfigError(f"tile={tile}: give auto, none, or the side of the windows, a multiple of {STEP} pixels")


def side(tile: str | int, size: Sequence[int], classes: int) -> int | None:
    """Return the side of the windows for an image of `size` (height, width) in pixels; None: predict it as a whole."""
    height, width = size
    if tile == "none":
        return None
    if isinstance(tile, int):
        return tile if max(height, width) > tile else None
    if height * width <= MAX_PIXELS:
        return None
    chosen = 1024
    while chosen > 256 and 4 * classes * chosen * width > MAX_STRIP_BYTES:
        chosen //= 2
    return chosen


def spans(length: int, side: int) -> list[tuple[slice, Tensor]]:
    """Return the windows along one axis that cover `length` pixels, and the weights (n,) of their n pixels.

    At each pixel the weights of all windows sum to one. The windows are evenly spaced and overlap by a quarter or more.
    """
    last = max(0, -(-(length - side) // GRID))  # where the last window starts, in units of the grid
    steps = -(-last // (3 * side // 4 // GRID))
    starts = [GRID * (last * i // max(steps, 1)) for i in range(steps + 1)]
    windows = [slice(start, min(start + side, length)) for start in starts]
    pixels = torch.arange(length) + 0.5
    rises = [torch.ones(length)]  # rise i goes from 0 to 1 where window i takes over from the one before
    for before, window in pairwise(windows):
        middle = (window.start + before.stop) / 2
        rises.append(((pixels - middle) / (side / 16) + 0.5).clamp(0, 1))
    rises.append(torch.zeros(length))
    return [(window, (rises[i] - rises[i + 1])[window]) for i, window in enumerate(windows)]


def strips(probabilities: Callable[[Tensor], Tensor], image: Tensor, side: int) -> Iterator[Tensor]:
    """Yield the probabilities (K, rows, W) of an image uint8 (3, H, W) from the top, computing K x side x W at a time.

    `probabilities` maps a window uint8 (1, 3, h, w) to (1, K, h, w).
    """
    height, width = image.shape[-2:]
    lines = spans(height, side)
    ends = [rows.start for rows, _ in lines[1:]] + [height]
    rest = None  # the sums of earlier windows below the last strip
    for (rows, down), end in zip(lines, ends, strict=True):
        strip = None
        for columns, across in spans(width, side):
            part = probabilities(image[None][..., rows, columns])[0]
            if strip is None:
                strip = part.new_zeros(len(part), len(down), width)
                if rest is not None:
                    strip[:, : rest.shape[1]] = rest
            strip[..., columns] += part * (down[:, None] * across).to(part)
        assert strip is not None
        rest = strip[:, end - rows.start :].clone()
        yield strip[:, : end - rows.start]
