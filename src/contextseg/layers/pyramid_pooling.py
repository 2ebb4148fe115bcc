"""Pyramid pooling module: averages over a few grids, brought back to the pixels.

Source: PSPNet (Zhao et al.: Pyramid Scene Parsing Network, CVPR 2017), Section 3.2 and Figure 3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.layers.conv import ConvNormAct
from contextseg.layers.resize import resize


class PooledConv(nn.Module):
    """Average over a `bins` x `bins` grid -> 1x1 conv -> BN -> ReLU -> back to the size of the map.

    One bin and one image give the batch norm one value per channel, from which it cannot learn. Training then raises a
    `ValueError` that says what to do. Evaluation, and training with frozen statistics, take any batch.
    """

    def __init__(self, in_channels: int, out_channels: int, bins: int = 1, *, align_corners: bool = False):
        super().__init__()
        self.bins, self.align_corners = bins, align_corners
        self.conv = ConvNormAct(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Average features (B, C, h, w) over the grid -> (B, C', h, w)."""
        norm = self.conv[1]
        if norm.training and not isinstance(norm, nn.SyncBatchNorm) and len(x) * self.bins**2 == 1:
            raise ValueError(
                "batch norm after global pooling cannot train on one image per device: use 2 or more images, "
                "synchronised batch norm over several GPUs, or frozen statistics (frozen_batch_norm=true)"
            )
        pooled = F.adaptive_avg_pool2d(x, self.bins)  # (B, C, bins, bins)
        return resize(self.conv(pooled), x.shape[-2:], self.align_corners)


class PyramidPooling(nn.Module):
    """Fuse features and their averages over each grid of `bins` by a 3x3 conv -> BN -> ReLU.

    width  channels of each grid; None: in_channels / n of n grids, so that together they weigh as much as the features
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bins: Sequence[int] = (1, 2, 3, 6),
        width: int | None = None,
        align_corners: bool = False,
    ):
        super().__init__()
        width = width or in_channels // len(bins)
        self.pyramid = nn.ModuleList(
            PooledConv(in_channels, width, count, align_corners=align_corners) for count in bins
        )
        self.fuse = ConvNormAct(in_channels + len(bins) * width, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Fuse features (B, C, h, w) with their averages -> (B, C', h, w)."""
        return self.fuse(torch.cat([x, *(level(x) for level in self.pyramid)], dim=1))
