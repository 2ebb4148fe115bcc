"""Label-ensemble head: the weighted sum of a coarse and a fine segmentation map.

Source: the coarse-to-fine scheme that OCR compares with (Yuan, Chen, Wang: Object-Contextual Representations for
Semantic Segmentation, ECCV 2020, supplementary Section 6.1, Table 6). Coarse maps come from stage 3, supervised by the
loss term `aux`, fine ones from the FCN baseline. Where the paper is silent: the maps are raw scores, the weights are 1
and 0.4 as in the loss, and the main loss supervises the sum.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from contextseg.contract import Head, SegOutput
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.resize import resize
from contextseg.typed import Count, NonNegative, Share


class LabelEnsembleHead(Head):
    """Add weighted coarse scores to those of an FCN.

    channels       of the 3x3 convolution
    coarse_weight  factor of the coarse scores
    dropout        of whole channels, before the classifier
    align_corners  of the resize of the coarse scores
    """

    can_emit = emits = frozenset({"aux_logits"})

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Count = 512,
        coarse_weight: NonNegative = 0.4,
        dropout: Share = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.coarse_weight, self.align_corners = coarse_weight, align_corners
        self.coarse = nn.Conv2d(in_channels[-2], num_classes, 1)
        self.reduce = ConvNormAct(in_channels[-1], channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C, h, w) -> logits (B, K, h, w); extras: coarse maps aux_logits (B, K, h', w')."""
        coarse = self.coarse(features[-2])  # (B, K, h', w')
        fine = self.classifier(self.dropout(self.reduce(features[-1])))  # (B, K, h, w)
        brought = resize(coarse, fine.shape[-2:], self.align_corners)  # (B, K, h, w)
        return SegOutput(fine + self.coarse_weight * brought, {"aux_logits": coarse})
