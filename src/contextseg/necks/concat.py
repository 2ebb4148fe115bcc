"""Concatenation: all maps resized to the finest and stacked, as HRNet makes its representation.

Source: Sun et al.: High-Resolution Representations for Labeling Pixels and Regions (2019), "HRNetV2", Section 3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from contextseg.contract import Neck
from contextseg.layers.resize import resize


class Concat(Neck):
    """Concatenate all maps into one: 48 + 96 + 192 + 384 = 720 channels at stride 4 for HRNet-W48.

    align_corners  of every resize
    """

    def __init__(self, in_channels: Sequence[int], strides: Sequence[int], *, align_corners: bool = False):
        super().__init__()
        self.align_corners = align_corners
        self.channels, self.strides = (sum(in_channels),), (strides[0],)

    def forward(self, features: Sequence[Tensor]) -> Sequence[Tensor]:
        """Concatenate maps [(B, C_i, h_i, w_i)], fine to coarse -> one map [(B, sum C_i, h_1, w_1)]."""
        size = features[0].shape[-2:]
        return [torch.cat([resize(x, size, self.align_corners) for x in features], dim=1)]
