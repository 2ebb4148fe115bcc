"""Label-refinement head: the coarse segmentation maps as further channels of the features.

Source: the coarse-to-fine scheme that OCR compares with (Yuan, Chen, Wang: Object-Contextual Representations for
Semantic Segmentation, ECCV 2020, supplementary Section 6.1, Table 6). Coarse maps come from stage 3, supervised by the
loss term `aux`. Where the paper is silent: they are raw scores, and the "final classifier" on them and the map of stage
4 is that of the baseline, a 3x3 conv -> BN -> ReLU and a 1x1 convolution.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contextseg.contract import Head, SegOutput
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.resize import resize
from contextseg.typed import Count, Share


class LabelRefinementHead(Head):
    """Classify features and coarse maps together by an FCN.

    channels  of the 3x3 convolution
    dropout   of whole channels, before the classifier
    align_corners  of the resize of the coarse maps
    """

    can_emit = emits = frozenset({"aux_logits"})

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Count = 512,
        dropout: Share = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.align_corners = align_corners
        self.coarse = nn.Conv2d(in_channels[-2], num_classes, 1)
        self.reduce = ConvNormAct(in_channels[-1] + num_classes, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C, h, w) -> logits (B, K, h, w); extras: coarse maps aux_logits (B, K, h', w')."""
        coarse = self.coarse(features[-2])  # (B, K, h', w')
        brought = resize(coarse, features[-1].shape[-2:], self.align_corners)  # (B, K, h, w)
        both = torch.cat([features[-1], brought], dim=1)  # (B, C + K, h, w)
        return SegOutput(self.classifier(self.dropout(self.reduce(both))), {"aux_logits": coarse})
