"""Joint pyramid upsampling: a map at stride 8 from a network without dilation.

Source: Wu, Zhang, Huang, Liang, Yu: FastFCN: Rethinking Dilated Convolution in the Backbone for Semantic Segmentation
(2019), Section 3.3; CTNet (Section 4.2.1) uses it in the place of dilation.
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
    """The last map becomes 4 x `channels` at `stride`; the maps before it stay as they are.

    It joins the maps of stride 8 and more, three at most and two at least: each through a 3x3 conv -> BN -> ReLU to
    `channels`, brought to one size, stacked, and read by four depth-wise separable 3x3 convolutions side by side, with
    dilation 1, 2, 4 and 8. ResNets and HRNet give strides 8, 16 and 32. `tiny` ends at stride 8 and gives strides 4
    and 8, of which the finer is averaged down first: nothing is up-sampled there, the neck merely adds the dilated
    convolutions. They see 19 x 19 places of the last map, 144 px more than the backbone does, so for the question what
    a head's context is worth on `context_scenes` take `neck=none` (the dilated alternative on any backbone:
    `neck=none backbone.output_stride=8`).

    `align_corners`: of the resize to one size (true in FastFCN's code, false in CTNet's).

    On ResNets the last map is then finer than the one before it. Raises `ConfigError` if there are fewer than two maps,
    or if `stride` neither divides nor is divided by the strides of those it takes.
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
        """Maps [(B, C_i, h_i, w_i)], fine to coarse -> the same but for the last, (B, 4 C, h, w) at `stride`."""
        maps = []
        for x, stride, conv in zip(features[-len(self.taken) :], self.taken, self.lateral, strict=True):
            if stride < self.stride:
                x = F.avg_pool2d(x, self.stride // stride, ceil_mode=True)
            maps.append(conv(x))
        finest = max(self.taken[0], self.stride)
        size = [-(-length * finest // self.stride) for length in maps[0].shape[-2:]]  # (h, w)
        stacked = torch.cat([resize(x, size, self.align_corners) for x in maps], dim=1)  # (B, 2 C or 3 C, h, w)
        return [*features[:-1], torch.cat([conv(stacked) for conv in self.dilated], dim=1)]
