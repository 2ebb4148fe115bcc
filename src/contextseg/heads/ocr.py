"""OCR head: each pixel attends to one vector per object class.

Source: Yuan, Chen, Wang: Object-Contextual Representations for Semantic Segmentation (ECCV 2020), Sections 3.2 and 3.3,
Eq. 3-6. Coarse maps from stage 3 make soft regions, supervised by the loss term `aux`; pixels of stage 4 are gathered
into region vectors, and each pixel takes its context from those. On a backbone whose last two maps differ in size
(`tiny`) the region maps are brought to the size of the last.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contextseg.contract import Head, SegOutput
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.region_attention import RegionAttention, gather_regions
from contextseg.layers.resize import resize


class OCRHead(Head):
    """Object-contextual representations.

    `channels` is the width of x, y and z (512), `key_channels` that of phi, psi and delta (half of it, 256).
    `region_source` is the map of the coarse classifier: -2, stage 3 of a ResNet; -1 for HRNet (Section 3.3).
    The paper names no dropout; the released code has 0.05 before the classifier.
    """

    emits = frozenset({"aux_logits"})

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: int = 512,
        key_channels: int | None = None,
        region_source: int = -2,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.region_source = region_source
        self.regions = nn.Conv2d(in_channels[region_source], num_classes, 1)
        self.reduce = ConvNormAct(in_channels[-1], channels, 3)
        self.attention = RegionAttention(channels, key_channels or channels // 2)
        self.fuse = ConvNormAct(2 * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Maps, the last (B, C, h, w) -> logits (B, K, h, w); extras: aux_logits (B, K, h', w'), the soft regions."""
        coarse = self.regions(features[self.region_source])  # (B, K, h', w')
        x = self.reduce(features[-1])  # (B, C, h, w)
        regions = gather_regions(resize(coarse, x.shape[-2:]), x)  # (B, C, K)
        y = self.attention(x, regions)  # (B, C, h, w)
        z = self.fuse(torch.cat([x, y], dim=1))
        return SegOutput(self.classifier(self.dropout(z)), {"aux_logits": coarse})
