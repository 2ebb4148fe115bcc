"""Atrous spatial pyramid pooling: parallel convolutions with growing dilation, and the mean of the image.

Source: DeepLabv3 (Chen et al.: Rethinking Atrous Convolution for Semantic Image Segmentation, 2017), Section 3.3.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from contextseg.layers.conv import ConvNormAct
from contextseg.layers.pyramid_pooling import PooledConv


class ASPP(nn.Module):
    """Fuse, by a 1x1 conv, parallel branches: a 1x1 conv, one 3x3 conv per dilation rate, and the pooled image.

    Every convolution has BN and ReLU.

    rates            dilation rates at output stride 8; half of them fit 16
    image_pooling    the branch of the pooled image
    branch_channels  width of each branch; None: that of the result
    beside           width of the maps that the caller puts before the branches (OCR's context)
    bias             of the convolutions, but for the pooled branch
    leaky            slope of the ReLUs below zero, but for the pooled branch
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        rates: Sequence[int] = (12, 24, 36),
        image_pooling: bool = True,
        branch_channels: int | None = None,
        beside: int = 0,
        bias: bool = False,
        leaky: float = 0.0,
    ):
        super().__init__()
        width = branch_channels or out_channels
        block = partial(ConvNormAct, bias=bias, leaky=leaky)
        self.branches = nn.ModuleList([block(in_channels, width)])
        self.branches.extend(block(in_channels, width, 3, dilation=rate) for rate in rates)
        if image_pooling:
            self.branches.append(PooledConv(in_channels, width))
        self.fuse = block(beside + len(self.branches) * width, out_channels)

    def forward(self, x: Tensor, *beside: Tensor) -> Tensor:
        """Pool features (B, C, h, w) [and maps `beside` (B, C_j, h, w)] -> (B, C', h, w)."""
        return self.fuse(torch.cat([*beside, *(branch(x) for branch in self.branches)], dim=1))
