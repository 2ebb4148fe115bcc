"""The one bilinear resize, and its arg-max at full resolution without the full map."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize(x: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Resize bilinearly: (B, C, h, w) -> (B, C, *size), same dtype; `x` itself when it has that size already.

    `align_corners`: the centres of the corner pixels coincide (much released code), not the image borders.
    """
    size = tuple(size)
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


def refuse_more_than_labels_hold(classes: int) -> None:
    """Raise `ValueError` for more than 255 classes: labels are uint8, and 255 is void."""
    if classes > 255:
        raise ValueError(f"{classes} classes do not fit into uint8 labels, in which 255 is void")


def argmax_resized(logits: Tensor, size: Sequence[int], align_corners: bool = False, chunk: int = 10) -> Tensor:
    """Compute `resize(...).argmax(1)`, `chunk` classes at a time: (B, K, h, w) -> labels uint8 (B, *size).

    The full (B, K, *size) map never exists. On a tie the lowest class wins, as in `argmax`. Raises `ValueError` for
    more than 255 classes, because 255 is void.
    """
    batch, classes = logits.shape[:2]
    refuse_more_than_labels_hold(classes)
    logits = logits.contiguous()  # channels-last slices resize slowly, and by a kernel that depends on their number
    best = logits.new_full((batch, *size), -torch.inf)
    labels = torch.zeros_like(best, dtype=torch.uint8)
    for start in range(0, classes, chunk):
        value, label = resize(logits[:, start : start + chunk], size, align_corners).max(1)
        labels = torch.where(value > best, label.to(torch.uint8) + start, labels)
        best = torch.maximum(best, value)
    return labels
