"""Edge branch: where one part ends and another begins, seen in several maps.

Source: Ruan et al.: Devil in the Details: Towards Accurate Single and Multiple Human Parsing (CE2P, AAAI 2019),
Figure 2; widths and kernels are those of its code.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contextseg.layers.conv import ConvNormAct
from contextseg.layers.resize import resize


class EdgeBranch(nn.Module):
    """Reduce each map by a 1x1 conv, score each by one 3x3 conv that all share, and fuse the scores by a 1x1 conv."""

    def __init__(self, in_channels: Sequence[int], channels: int = 256, *, align_corners: bool = False):
        super().__init__()
        self.align_corners = align_corners
        self.reduce = nn.ModuleList(ConvNormAct(width, channels) for width in in_channels)
        self.score = nn.Conv2d(channels, 2, 3, padding=1)
        self.fuse = nn.Conv2d(2 * len(in_channels), 2, 1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Turn maps, n of them, the first (B, C_1, h, w), into raw scores (B, 2, h, w) and features (B, n C, h, w).

        The scores are of "no edge" and "edge".
        """
        size = maps[0].shape[-2:]
        features = [conv(one) for conv, one in zip(self.reduce, maps, strict=True)]
        scores = [resize(self.score(one), size, self.align_corners) for one in features]
        sides = [resize(one, size, self.align_corners) for one in features]
        return self.fuse(torch.cat(scores, dim=1)), torch.cat(sides, dim=1)
