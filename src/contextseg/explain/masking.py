"""Masked copies of an image for one pixel: its patches, the orders in which they are masked, what takes their place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

Instead = Literal["mean", "blur"]
Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Patches:
    """Cut an image of `size` into patches of `side` pixels, of which those near the pixel are never masked.

    size   (H, W) in pixels; patches at the right and at the bottom may be cut off
    side   of a patch in pixels
    pixel  (row, column)
    spare  patches that come as near to the pixel as that, in rows and columns, stay; 0: the pixel's own stays
    """

    size: Size
    side: int
    pixel: Size
    spare: int

    @property
    def grid(self) -> Size:
        """Rows and columns of patches."""
        return -(-self.size[0] // self.side), -(-self.size[1] // self.side)

    def gaps(self) -> Tensor:
        """Return how far the nearest pixel of each patch is from the pixel, float (n, 2): in rows and in columns."""
        found = []
        for place, count, length in zip(self.pixel, self.grid, self.size, strict=True):
            first = torch.arange(count) * self.side
            last = (first + self.side - 1).clamp(max=length - 1)
            found.append(torch.maximum(first - place, place - last).clamp(min=0).float())
        return torch.cartesian_prod(*found)

    def free(self) -> Tensor:
        """Return the numbers of the patches that may be masked, int64 (m,), row by row."""
        return (self.gaps().amax(1) > self.spare).nonzero().flatten()

    def means(self, values: Tensor) -> Tensor:
        """Average a map (h, w) of the image, each number over its share of the pixels, over each patch: float (n,)."""
        whole = F.interpolate(values[None, None].float(), self.size, mode="nearest-exact")
        height, width = (count * self.side for count in self.grid)
        bottom, right = height - self.size[0], width - self.size[1]
        padded = F.pad(whole, (0, right, 0, bottom), mode="replicate")
        return F.avg_pool2d(padded, self.side).flatten()

    def pixels(self, patches: Tensor) -> Tensor:
        """Mark the pixels of some patches: bool (..., n) -> (..., H, W)."""
        marked = patches.unflatten(-1, self.grid)
        marked = marked.repeat_interleave(self.side, -2).repeat_interleave(self.side, -1)
        return marked[..., : self.size[0], : self.size[1]]


def orders(patches: Patches, maps: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Order the patches that may be masked: by each map (h, w), the highest mean first, "nearest" first, "random".

    Equal patches are ordered by chance, which depends on `seed` alone. Returns int64 (m,) by name.
    """
    free = patches.free()
    free = free[torch.randperm(len(free), generator=torch.Generator().manual_seed(seed))]
    values = {name: patches.means(one) for name, one in maps.items()} | {"nearest": -patches.gaps().norm(dim=1)}
    found = {name: free[one[free].argsort(descending=True, stable=True)] for name, one in values.items()}
    return found | {"random": free}


def steps(order: Tensor, patches: Patches, count: int) -> tuple[Tensor, Tensor]:
    """Mark what is masked at each step, bool (`count` + 1, n): in deletion, and in insertion.

    At step k the first k / `count` of the patches in `order` are masked, or they alone are seen.
    """
    shares = [round(step * len(order) / count) for step in range(count + 1)]
    deleted = torch.zeros(count + 1, patches.grid[0] * patches.grid[1], dtype=torch.bool)
    hidden = deleted.clone()
    for step, share in enumerate(shares):
        deleted[step, order[:share]] = True
        hidden[step, order[share:]] = True
    return deleted, hidden


def instead(image: Tensor, how: Instead, side: int) -> Tensor:
    """Return what takes the place of masked pixels of an image uint8 (3, H, W), of the same form.

    "mean": the mean colour of the image; "blur": the image under a Gaussian with a standard deviation of `side`, which
    leaves colours and large shapes.
    """
    if how == "mean":
        return image.float().mean((1, 2), keepdim=True).round().to(torch.uint8).expand_as(image)
    kernel = min(4 * side + 1, 2 * min(image.shape[-2:]) - 1)  # odd; the border is a mirror image, no wider than that
    return gaussian_blur(image, [kernel, kernel], [float(side), float(side)])


def masked(image: Tensor, other: Tensor, marks: Tensor) -> Tensor:
    """Put `other` where `marks`, bool (B, H, W), are set: two images uint8 (3, H, W) -> (B, 3, H, W)."""
    return torch.where(marks[:, None].to(image.device), other, image)
