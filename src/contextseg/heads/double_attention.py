"""Double attention head: pixels exchange features through a few vectors, which stand for no class.

Source: Chen et al.: A^2-Nets: Double Attention Networks (NeurIPS 2018), as the authors of OCR ran it for segmentation
(Yuan, Chen, Wang, ECCV 2020, Section 4.3, Tables 3, 4 and 7): 3x3 conv to 512, the block, concatenation with the
features instead of A^2-Nets' residual sum, 1x1 conv. The widths are those that Table 4's costs imply. The loss term
`aux` has an FCN head on stage 3, as for every method of that paper.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contextseg.contract import Head, Heard, SegOutput
from contextseg.layers.attention import Attention, Factored
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.double_attention import DoubleAttention
from contextseg.typed import Count, Share


class DoubleAttentionHead(Head):
    """Aggregate context by vectors that are gathered from all pixels and distributed to them.

    channels        width of the features and of the context
    inner_channels  width of the vectors; null: half of `channels`
    regions         number of vectors
    dropout         of whole channels, before the classifier
    """

    can_be_local = True

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Count = 512,
        inner_channels: Count | None = None,
        regions: Count = 64,
        dropout: Share = 0.0,
    ):
        super().__init__()
        self.reduce = ConvNormAct(in_channels[-1], channels, 3)
        self.attention = DoubleAttention(channels, inner_channels or channels // 2, regions)
        self.fuse = ConvNormAct(2 * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C, h, w) -> logits (B, K, h, w); no extras."""
        x = self.reduce(features[-1])  # (B, C, h, w)
        z = self.fuse(torch.cat([x, self.within(self.attention, x)], dim=1))
        return SegOutput(self.classifier(self.dropout(z)), {})

    def attends(self, heard: Heard, size: tuple[int, int]) -> dict[str, Attention]:
        """Return the gather maps, weighted by what a pixel takes from each: sum_k v_ik b_kj."""
        (gather,), (distribute,) = heard["attention.gather"], heard["attention.distribute"]
        return {"context": Factored(distribute[0], gather[0], size, size)}
