"""Ground-truth OCR: an oracle that is told the object regions and the relations; the "ours*" of Figure 1.

Source: Yuan, Chen, Wang: Object-Contextual Representations for Semantic Segmentation (ECCV 2020), Section 3.4: m_ki and
w_ik are 1 where the label of pixel i is k, else 0. It shows what a perfect grouping would give; it cannot predict.

Where the paper is silent: a region vector is the plain mean of its pixels (the spatial softmax of Eq. 4 would blur a
0/1 map), zero for an absent class; a void pixel belongs to no region and gets the context of none, a zero before rho
(the released code makes a region of its own out of void); there is no coarse map, and the loss term `aux` has an FCN
head on stage 3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.attention import AttentionTap
from contextseg.contract import Head, SegOutput
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.region_attention import GivenRelation, gather_regions


class OCRGroundTruthHead(Head):
    """OCR with ideal regions and relations; widths as in OCR."""

    needs_mask = True

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: int = 512,
        key_channels: int | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.num_classes = num_classes
        self.reduce = ConvNormAct(in_channels[-1], channels, 3)
        self.attention = GivenRelation(channels, key_channels or channels // 2)
        self.fuse = ConvNormAct(2 * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.regions = AttentionTap()  # (B, K, hw), rows sum to 1, or to 0 for an absent class

    def forward(self, features: Sequence[Tensor], mask: Tensor) -> SegOutput:
        """Maps, the last (B, C, h, w), and mask uint8 (B, H, W) -> logits (B, K, h, w); no extras."""
        x = self.reduce(features[-1])  # (B, C, h, w)
        maps = self.membership(mask, x.shape[-2:])  # (B, K, h, w)
        means = maps.flatten(2) / maps.sum((2, 3)).clamp(min=1).unsqueeze(-1)  # (B, K, hw)
        vectors = gather_regions(self.regions(means.to(x.dtype)), x)  # (B, C, K)
        y = self.attention(x, vectors, maps)  # (B, C, h, w)
        z = self.fuse(torch.cat([x, y], dim=1))
        return SegOutput(self.classifier(self.dropout(z)), {})

    def membership(self, mask: Tensor, size: Sequence[int]) -> Tensor:
        """Whether the label nearest to a pixel of `size` is k: uint8 (B, H, W) -> float32 (B, K, h, w), 0 or 1."""
        labels = F.interpolate(mask.unsqueeze(1).float(), size, mode="nearest-exact")  # (B, 1, h, w)
        return (labels == torch.arange(self.num_classes, device=mask.device).view(-1, 1, 1)).float()  # (B, K, h, w)
