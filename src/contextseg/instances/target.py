"""What passes between the parts: an image with its instances, and the source that reads it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Instances(NamedTuple):
    """Hold the instances of an image of size (H, W), n of them.

    masks   uint8 (n, H, W), 0 and 1
    labels  int64 (n,), 1 to the number of classes; 0 is the background
    crowd   bool (n,), a group that is not told apart: no example for training, and no error where it is found
    areas   float64 (n,), in pixels
    """

    masks: NDArray
    labels: NDArray
    crowd: NDArray
    areas: NDArray


class InstanceSource(Protocol):
    """Read the images of a split."""

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the classes 1, 2, ..."""

    def __len__(self) -> int:
        """Return the number of images."""

    def read(self, index: int) -> tuple[NDArray, Instances]:
        """Read an image uint8 (H, W, 3) and its instances."""


def boxes_of(masks: NDArray) -> NDArray:
    """Return the boxes around masks (n, H, W): float32 (n, 4), left, top, right, bottom; all 0 for an empty mask."""
    found = np.zeros((len(masks), 4), np.float32)
    for index, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            found[index] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return found


def for_training(instances: Instances) -> Instances:
    """Drop crowds, and instances with a box of one pixel's width or height."""
    boxes = boxes_of(instances.masks)
    keep = ~instances.crowd & (boxes[:, 2] - boxes[:, 0] > 1) & (boxes[:, 3] - boxes[:, 1] > 1)
    return Instances(*(part[keep] for part in instances))


def as_tensors(instances: Instances) -> dict[str, Tensor]:
    """Return the target that torchvision's detectors and torchmetrics take."""
    return {
        "boxes": torch.from_numpy(boxes_of(instances.masks)),
        "labels": torch.from_numpy(instances.labels.astype(np.int64)),
        "masks": torch.from_numpy(instances.masks.astype(np.uint8)),
        "iscrowd": torch.from_numpy(instances.crowd.astype(np.int64)),
        "area": torch.from_numpy(instances.areas.astype(np.float64)),
    }
