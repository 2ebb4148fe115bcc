"""Joint pyramid upsampling: a map at stride 8 from a network without dilation.

Source: Wu, Zhang, Huang, Liang, Yu: FastFCN: Rethinking Dilated Convolution in the Backbone for Semantic Segmentation
(2019), Section 3.3; CTNet (Section 4.2.1) uses it instead of dilation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.contract import Neck
from contextseg.errors import ConfigError
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.resize import resize
from contextseg.typed import Count

DILATIONS = (1, 2, 4, 8)


class JPU(Neck):
    """Replace the last map by one of 4 x `channels` at `stride`; the maps before it are passed on.

    channels       width of each map that is joined, and of each dilated branch
    stride         of the new map
    align_corners  of the resize to one size; FastFCN's code: true, CTNet's: false

    The maps of stride `stride` and more are joined, two at least and three at most. Each passes a 3x3 conv -> BN ->
    ReLU; resized and stacked, they are read by four parallel depth-wise separable 3x3 convolutions with dilation 1, 2,
    4 and 8. ResNets and HRNet give strides 8, 16 and 32; on ResNets the new map is finer than the one before it.

    `tiny` ends at stride 8 and gives strides 4 and 8, of which the finer is averaged down first. Nothing is up-sampled
    there: the neck merely adds the dilated convolutions, which see 19 x 19 places of the last map, 144 px more than the
    backbone. To measure the effect of a head's context on `context_scenes`, use `neck=none` (on any backbone, dilated:
    `neck=none backbone.output_stride=8`).

    Raises `ConfigError` for fewer than two maps, and if `stride` neither divides nor is divided by the strides of those
    it takes.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        *,
        channels: Count = 512,
        stride: Count = 8,
        align_corners: bool = False,
    ):
        super().__init__()
        if len(in_channels) < 2:
            raise ConfigError(f"neck=jpu joins two maps or three, got {len(in_channels)}; use neck=none")
        count = min(max(sum(s >= stride for s in strides), 2), 3)
        if stride < 1 or any(max(s, stride) % min(s, stride) for s in strides[-count:]):
            raise ConfigError(f"neck.stride={stride} does not fit maps of stride {list(strides)}; give 8")
        self.taken, self.stride = tuple(strides[-count:]), stride
        self.align_corners = align_corners
        self.lateral = nn.ModuleList(ConvNormAct(width, channels, 3) for width in in_channels[-count:])
        self.dilated = nn.ModuleList(
            nn.Sequential(
                ConvNormAct(count * channels, count * channels, 3, dilation=rate, groups=count * channels, act=False),
                ConvNormAct(count * channels, channels),
            )
            for rate in DILATIONS
        )
        self.channels = (*in_channels[:-1], len(DILATIONS) * channels)
        self.strides = (*strides[:-1], stride)

    def forward(self, features: Sequence[Tensor]) -> Sequence[Tensor]:
        """Replace the last of maps [(B, C_i, h_i, w_i)], fine to coarse, by (B, 4 C, h, w) at `stride`."""
        maps = []
        for x, stride, conv in zip(features[-len(self.taken) :], self.taken, self.lateral, strict=True):
            if stride < self.stride:
                x = F.avg_pool2d(x, self.stride // stride, ceil_mode=True)
            maps.append(conv(x))
        finest = max(self.taken[0], self.stride)
        size = [-(-length * finest // self.stride) for length in maps[0].shape[-2:]]  # (h, w)
        stacked = torch.cat([resize(x, size, self.align_corners) for x in maps], dim=1)  # (B, 2 C or 3 C, h, w)
        return [*features[:-1], torch.cat([conv(stacked) for conv in self.dilated], dim=1)]
