"""PSP head: averages over grids of 1, 2, 3 and 6 cells beside the features.

Source: Zhao, Shi, Qi, Wang, Jia: Pyramid Scene Parsing Network (CVPR 2017), Section 3.2, in the form that OCR and CTNet
count: grids of a quarter of the input channels each, a 3x3 conv to `channels`, dropout, classifier.
"""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import MinLen
from torch import Tensor, nn

from contextseg.contract import Head, SegOutput
from contextseg.layers.pyramid_pooling import PyramidPooling
from contextseg.typed import Count, Share


class PSPHead(Head):
    """Aggregate context by pyramid pooling, which cannot train on one image per device (`PooledConv`).

    channels  of the 3x3 convolution
    bins      cells along each side of the grids
    dropout   of whole channels, before the classifier
    align_corners  of the resize of the averages to the map
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Count = 512,
        bins: Annotated[Sequence[Count], MinLen(1)] = (1, 2, 3, 6),
        dropout: Share = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.pool = PyramidPooling(in_channels[-1], channels, bins=bins, align_corners=align_corners)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C, h, w) -> logits (B, K, h, w); no extras."""
        return SegOutput(self.classifier(self.dropout(self.pool(features[-1]))), {})
