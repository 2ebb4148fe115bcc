"""FCN head: one 3x3 convolution and a classifier; the context-free baseline of all five papers, and the auxiliary head.

Source: Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation (CVPR 2015), in the dilated
form that the five papers use (one 3x3 conv -> BN -> ReLU -> dropout -> 1x1 classifier on the last map).
"""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor, nn

from contextseg.contract import Head, SegOutput
from contextseg.layers.conv import ConvNormAct
from contextseg.typed import Count, Natural, Share


class FCNHead(Head):
    """Classify each pixel from its own neighbourhood.

    channels     of the first convolution; 0: as many as the map has
    source       the map it reads: -1 the last, -2 the last but one (the auxiliary head, on stage 3, "res4")
    dropout      of whole channels, before the classifier
    kernel_size  of the first convolution; it, `bias` and `leaky` differ in auxiliary heads of released code
    bias         of the first convolution
    leaky        slope of the ReLU below zero; 0.01 for InPlace-ABN

    HRNetV2's classifier on the one map of neck=concat is channels=0, kernel_size=1, bias=true, dropout=0.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Natural = 512,
        source: Annotated[int, Ge(-4), Le(-1)] = -1,
        dropout: Share = 0.1,
        kernel_size: Count = 3,
        bias: bool = False,
        leaky: Share = 0.0,
    ):
        super().__init__()
        self.source = source
        channels = channels or in_channels[source]
        self.reduce = ConvNormAct(in_channels[source], channels, kernel_size, bias=bias, leaky=leaky)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, of which one (B, C, h, w) is read -> logits (B, K, h, w); no extras."""
        return SegOutput(self.classifier(self.dropout(self.reduce(features[self.source]))), {})
