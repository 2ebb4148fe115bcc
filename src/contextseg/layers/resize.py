"""The one bilinear resize."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def resize(x: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Resize bilinearly: (B, C, h, w) -> (B, C, *size), same dtype; `x` itself when it has that size already.

    `align_corners`: the centres of the corner pixels coincide (much released code), not the image borders.
    """
    size = tuple(size)
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=align_corners)
