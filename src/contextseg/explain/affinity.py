"""The ideal affinity of an image, with which a prior or an attention matrix is compared."""

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from contextseg.contract import IGNORE_INDEX


def ideal_affinity(mask: NDArray, size: tuple[int, int]) -> Tensor:
    """Return CPNet's ideal prior of a mask (H, W): float (hw, hw), 1 where two cells of an (h, w) grid have one label.

    Labels are those nearest to the cells' centres, as in the loss; a void cell is like no other.
    """
    labels = F.interpolate(torch.from_numpy(mask)[None, None], size, mode="nearest-exact").flatten()  # (hw,)
    return ((labels[:, None] == labels) & (labels != IGNORE_INDEX)).float()
