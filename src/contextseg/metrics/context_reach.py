"""The reach of context: accuracy near the cue that decides a pixel's class, and far from it."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric


class ContextReach(Metric):
    """Compute the accuracy on locally ambiguous pixels, separately near to and far from the cue that decides them.

    A rule is a pair (cue train ids, ambiguous train ids). A pixel is near if a cue pixel of the same rule lies within
    `radius` pixels, along the rows and along the columns. Otherwise it is far: only context can tell its class.
    """

    full_state_update = False
    seen: Tensor  # int64 (rules, 2), near and far
    right: Tensor  # int64 (rules, 2)

    def __init__(self, *, rules: Mapping[str, tuple[Sequence[int], Sequence[int]]], radius: int = 27):
        super().__init__()
        self.rules, self.radius = dict(rules), radius
        for name in ("seen", "right"):
            self.add_state(name, torch.zeros(len(rules), 2, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, mask: Tensor) -> None:
        """Count labels (B, H, W) against a mask uint8 (B, H, W)."""
        for i, (cues, ambiguous) in enumerate(self.rules.values()):
            near = dilate(among(mask, cues), self.radius)
            for j, where in enumerate((near, ~near)):
                where = where & among(mask, ambiguous)
                self.seen[i, j] += where.sum()
                self.right[i, j] += (where & (prediction == mask)).sum()

    def compute(self) -> dict[str, float]:
        """Return near_acc and far_acc over all rules, and near_acc_<rule>, far_acc_<rule>; NaN without a pixel."""
        pairs = {"": (self.right.sum(0), self.seen.sum(0))}
        pairs |= {f"_{rule}": (self.right[i], self.seen[i]) for i, rule in enumerate(self.rules)}
        return {
            f"{place}_acc{rule}": (100 * right[j] / seen[j]).item()
            for rule, (right, seen) in pairs.items()
            for j, place in enumerate(("near", "far"))
        }


def among(mask: Tensor, ids: Sequence[int]) -> Tensor:
    """Find where the id is one of `ids`: mask (B, H, W) -> bool (B, H, W)."""
    return torch.isin(mask, torch.tensor(list(ids), dtype=mask.dtype, device=mask.device))


def dilate(region: Tensor, radius: int) -> Tensor:
    """Find where the square of `radius` pixels around holds a true pixel: bool (B, H, W) -> bool (B, H, W)."""
    size = 2 * radius + 1
    rows = F.max_pool2d(region.float(), (size, 1), stride=1, padding=(radius, 0))
    return F.max_pool2d(rows, (1, size), stride=1, padding=(0, radius)).bool()
