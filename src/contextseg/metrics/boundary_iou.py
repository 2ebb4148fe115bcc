"""IoU of the borders alone, which hardly count in mIoU: large areas decide it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from contextseg.classes import ClassSet
from contextseg.contract import IGNORE_INDEX
from contextseg.metrics.confusion import count


class BoundaryIoU(Metric):
    """Compute the boundary IoU (Cheng, Girshick, Dollár, Berg, Kirillov, CVPR 2021, Section 4) of a data set.

    The band of a class is its pixels within d of its contour, where d is `width` times the image's diagonal, at least
    1 pixel, counted along rows and columns. The image's border is a contour too (both as in the authors' code). For
    each class, the band in the prediction is compared with the band in the truth. The paper scores single objects;
    here intersections and unions are summed over the data set, as for mIoU. Pixels that are void in the truth are void
    in the prediction as well: both end there, so a perfect prediction scores 100.
    """

    full_state_update = False
    counts: Tensor  # int64 (3, K): in both bands; in the band of the truth; in that of the prediction

    def __init__(self, classes: ClassSet, width: float = 0.02):
        super().__init__()
        self.width = width
        self.add_state("counts", torch.zeros(3, len(classes), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, mask: Tensor) -> None:
        """Count labels (B, H, W), integers below K, against a mask uint8 (B, H, W). Raises what `count` raises."""
        radius = max(1, round(self.width * math.hypot(*mask.shape[-2:])))
        seen = torch.where(mask == IGNORE_INDEX, mask, prediction)
        truth, guess = band(mask, radius), band(seen, radius)
        void = torch.full_like(mask, IGNORE_INDEX)
        for i, where in enumerate((truth & guess, truth)):
            pairs = count(prediction, torch.where(where, mask, void), self.counts.shape[1])
            self.counts[i] += pairs.diag() if i == 0 else pairs.sum(1)
        self.counts[2] += count(prediction, torch.where(guess, mask, void), self.counts.shape[1]).sum(0)

    def compute(self) -> dict[str, float]:
        """Return boundary_iou, the mean over the classes that have a band in truth or prediction, in percent."""
        both, truth, guess = self.counts.cpu().double()
        return {"boundary_iou": (100 * both / (truth + guess - both)).nanmean().item()}


def band(labels: Tensor, radius: int) -> Tensor:
    """Find where the square of `radius` pixels around holds another label or leaves the image.

    Labels (B, H, W) -> bool (B, H, W). The time does not depend on the radius.
    """
    down = F.pad((labels[:, 1:] != labels[:, :-1]).int(), (0, 0, 0, 1))  # (B, H, W): differs from the pixel below
    right = F.pad((labels[..., 1:] != labels[..., :-1]).int(), (0, 1))
    near = within(down, radius, radius - 1, radius, radius) | within(right, radius, radius, radius, radius - 1)
    near[:, :radius], near[:, -radius:], near[..., :radius], near[..., -radius:] = True, True, True, True
    return near


def within(edges: Tensor, up: int, below: int, left: int, right: int) -> Tensor:
    """Find where there is a 1 from `up` rows above to `below` rows below, `left` columns before to `right` after.

    Edges int32 (B, H, W) of 0 and 1 -> bool (B, H, W).
    """
    height, width = edges.shape[-2:]
    sums = F.pad(edges.cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32), (1, 0, 1, 0))  # (B, H + 1, W + 1)
    row, column = (torch.arange(side, device=edges.device) for side in (height, width))
    top, bottom = (row - up).clamp(min=0), (row + below + 1).clamp(max=height)
    first, last = (column - left).clamp(min=0), (column + right + 1).clamp(max=width)
    lines = sums[:, bottom] - sums[:, top]  # (B, H, W + 1)
    return lines[..., last] != lines[..., first]
