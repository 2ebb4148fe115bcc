"""DeepLabv3 head: parallel dilated convolutions and the mean of the image.

Source: Chen, Papandreou, Schroff, Adam: Rethinking Atrous Convolution for Semantic Image Segmentation (2017), Section
3.3, at output stride 8. The paper classifies the fused pyramid directly; the baseline that CTNet counts has a 3x3 conv
in between (`refine`).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from contextseg.contract import Head, SegOutput
from contextseg.layers.aspp import ASPP
from contextseg.layers.conv import ConvNormAct
from contextseg.typed import Count, Share


class DeepLabV3Head(Head):
    """Aggregate context by atrous spatial pyramid pooling.

    channels       width of each branch and of the fused pyramid
    rates          dilation rates at output stride 8; half of them fit 16
    image_pooling  a branch for the mean of the image, which cannot train on one image per device (`PooledConv`)
    refine         a 3x3 conv -> BN -> ReLU before the classifier
    dropout        of whole channels, before the classifier, and before `refine`
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Count = 256,
        rates: Sequence[Count] = (12, 24, 36),
        image_pooling: bool = True,
        refine: bool = False,
        dropout: Share = 0.1,
    ):
        super().__init__()
        self.pyramid = ASPP(in_channels[-1], channels, rates=rates, image_pooling=image_pooling)
        self.refine: nn.Module = nn.Identity()
        if refine:
            self.refine = nn.Sequential(nn.Dropout2d(dropout), ConvNormAct(channels, channels, 3))
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C, h, w) -> logits (B, K, h, w); no extras."""
        return SegOutput(self.classifier(self.dropout(self.refine(self.pyramid(features[-1])))), {})
