"""GCN head: a large separable kernel, the baseline "GCN" of CCNet's Table 4.

Source: Peng et al.: Large Kernel Matters - Improve Semantic Segmentation by Global Convolutional Network (CVPR 2017),
Section 3.1, Figure 4 B: (k x 1 then 1 x k) + (1 x k then k x 1), no activation between; k = 15 is its largest. CCNet's
authors "utilized global convolution filters" and say no more, so the block stands where their attention stands: conv
-> block -> concat with the input -> conv -> classifier. Peng's own network maps straight to the classes, at every
stage of a decoder; only its boundary refinement (Section 3.2) is an option here.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contextseg.contract import Head, SegOutput
from contextseg.errors import ConfigError
from contextseg.layers.conv import ConvNormAct
from contextseg.typed import Count, Share


class GCNHead(Head):
    """Aggregate context by a global convolution.

    channels     width of the block
    kernel_size  k, odd
    refine       boundary refinement of the scores
    dropout      of whole channels, before the classifier
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Count = 512,
        kernel_size: Count = 15,
        refine: bool = False,
        dropout: Share = 0.0,
    ):
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ConfigError(f"head.kernel_size={kernel_size}: give an odd number, so that the kernel has a centre")
        self.reduce = ConvNormAct(in_channels[-1], channels, 3)
        tall, wide = (kernel_size, 1), (1, kernel_size)
        self.tall_wide = nn.Sequential(line(channels, tall), line(channels, wide))
        self.wide_tall = nn.Sequential(line(channels, wide), line(channels, tall))
        self.fuse = ConvNormAct(channels + in_channels[-1], channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.refine = BoundaryRefinement(num_classes) if refine else nn.Identity()

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C, h, w) -> logits (B, K, h, w); no extras."""
        x = features[-1]
        h = self.reduce(x)  # (B, C', h, w)
        context = self.tall_wide(h) + self.wide_tall(h)  # (B, C', h, w)
        fused = self.fuse(torch.cat([context, x], dim=1))  # (B, C', h, w)
        return SegOutput(self.refine(self.classifier(self.dropout(fused))), {})


def line(channels: int, kernel_size: tuple[int, int]) -> nn.Conv2d:
    """Build one of the four convolutions along a line."""
    return nn.Conv2d(channels, channels, kernel_size, padding=(kernel_size[0] // 2, kernel_size[1] // 2))


class BoundaryRefinement(nn.Module):
    """Add a learnt correction to scores: S + conv(ReLU(conv(S))), both 3x3 (Section 3.2)."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(num_classes, num_classes, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(num_classes, num_classes, 3, padding=1),
        )

    def forward(self, logits: Tensor) -> Tensor:
        """Refine logits (B, K, h, w) -> (B, K, h, w)."""
        return logits + self.branch(logits)
