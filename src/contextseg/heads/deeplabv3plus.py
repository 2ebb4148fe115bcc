"""DeepLabv3+ head: DeepLabv3's pyramid, decoded with a map of a quarter of the image's size.

Source: Chen, Zhu, Papandreou, Schroff, Adam: Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation (ECCV 2018), Section 3.1, Figure 2 and Tables 1 and 2, with plain convolutions (the separable ones are for
its Xception). The pyramid is up-sampled to the low-level map, of 48 channels; both -> two 3x3 convs -> classifier.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contextseg.contract import Head, SegOutput
from contextseg.layers.aspp import ASPP
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.resize import resize
from contextseg.typed import Count, Share


class DeepLabV3PlusHead(Head):
    """Aggregate context by atrous spatial pyramid pooling, and restore borders from a finer map.

    strides        of the maps, counted from the end
    channels       width of the pyramid and of the decoder
    low_channels   width to which the low-level map is reduced
    low_stride     of the low-level map: the first of at least this stride, but for the last
    rates          dilation rates at output stride 16; at 8 they are doubled, [12,24,36]
    image_pooling  a branch for the mean of the image, which cannot train on one image per device (`PooledConv`)
    dropout        of whole channels, before the classifier
    align_corners  of the resize of the pyramid
    """

    output_stride = 16

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        strides: Sequence[Count] = (4, 8, 16, 16),
        channels: Count = 256,
        low_channels: Count = 48,
        low_stride: Count = 4,
        rates: Sequence[Count] = (6, 12, 18),
        image_pooling: bool = True,
        dropout: Share = 0.0,
        align_corners: bool = False,
    ):
        super().__init__()
        self.align_corners = align_corners
        strides = strides[-len(in_channels) :]
        finer = [index for index in range(-len(strides), -1) if strides[index] >= low_stride]
        self.low = finer[0] if finer else max(-2, -len(in_channels))  # counted from the end
        self.pyramid = ASPP(in_channels[-1], channels, rates=rates, image_pooling=image_pooling)
        self.reduce = ConvNormAct(in_channels[self.low], low_channels)
        self.decode = nn.Sequential(
            ConvNormAct(low_channels + channels, channels, 3), ConvNormAct(channels, channels, 3)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the low-level one (B, C_l, h, w) and the last -> logits (B, K, h, w); no extras."""
        low = self.reduce(features[self.low])  # (B, 48, h, w)
        context = resize(self.pyramid(features[-1]), low.shape[-2:], self.align_corners)  # (B, C, h, w)
        return SegOutput(self.classifier(self.dropout(self.decode(torch.cat([low, context], dim=1)))), {})
