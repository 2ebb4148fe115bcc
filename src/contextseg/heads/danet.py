"""DANet head: attention between pixels beside attention between channels, summed.

Source: Fu et al.: Dual Attention Network for Scene Segmentation (CVPR 2019), Section 3 and Figure 2, which the authors
of OCR compare with (Tables 3 and 4). The further classifiers on either branch are omitted; the loss term `aux` has an
FCN head on stage 3, as for every method of the OCR paper.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contextseg.contract import Head, Heard, SegOutput
from contextseg.layers.attention import Attention, DotProduct
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.dual_attention import ChannelAttention, PositionAttention
from contextseg.typed import Count, Share


class DANetHead(Head):
    """Aggregate context by attention between pixels and attention between channels.

    channels      width of both branches
    key_channels  width of query and key; null: an eighth of `channels`
    slim          both attentions share one 3x3 convolution and are fused with its result by a 1x1 one. The parameters
                  in OCR's Table 4 are of this network, the FLOPs there of the full head
    dropout       of whole channels, before the classifier
    """

    can_be_local = True

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Count = 512,
        key_channels: Count | None = None,
        slim: bool = False,
        dropout: Share = 0.1,
    ):
        super().__init__()
        self.slim = slim
        self.position_attention = PositionAttention(channels, key_channels or max(channels // 8, 1))
        self.channel_attention = ChannelAttention()
        if slim:
            self.reduce = ConvNormAct(in_channels[-1], channels, 3)
            self.fuse = ConvNormAct(3 * channels, channels)
        else:
            self.position_in = ConvNormAct(in_channels[-1], channels, 3)
            self.position_out = ConvNormAct(channels, channels, 3)
            self.channel_in = ConvNormAct(in_channels[-1], channels, 3)
            self.channel_out = ConvNormAct(channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C, h, w) -> logits (B, K, h, w); no extras."""
        if self.slim:
            x = self.reduce(features[-1])  # (B, C, h, w)
            by_position, by_channel = (
                self.within(part, x) for part in (self.position_attention, self.channel_attention)
            )
            z = self.fuse(torch.cat([by_position, by_channel, x], dim=1))
        else:
            by_position = self.within(self.position_attention, self.position_in(features[-1]))  # (B, C, h, w)
            by_channel = self.within(self.channel_attention, self.channel_in(features[-1]))  # (B, C, h, w)
            z = self.position_out(by_position) + self.channel_out(by_channel)
        return SegOutput(self.classifier(self.dropout(z)), {})

    def attends(self, heard: Heard, size: tuple[int, int]) -> dict[str, Attention]:
        """Return the position attention; that between channels joins no places."""
        ((query, key),) = heard["position_attention.position"]
        return {"position": DotProduct(query[0], key[0], size, size)}
