"""OCNet head: each pixel attends to the whole map, and to the parts of it that finer and finer grids cut out.

Source: Yuan, Wang: OCNet: Object Context Network for Scene Parsing (2018): Pyramid-OC, which CTNet counts (Table 3),
and Base-OC. The third form, with ASPP, is not here. Where the paper is silent, the layers are those of its
code (github.com/openseg-group/OCNet.pytorch), but for dropout and the start at zero of the last convolution.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from annotated_types import MinLen
from torch import Tensor, nn

from contextseg.contract import Head, Heard, SegOutput
from contextseg.layers.attention import Attention
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.object_context import GridAttention, ObjectContext
from contextseg.typed import Count, Share


class OCNetHead(Head):
    """Aggregate object context: the features beside the context of each grid -> 1x1 conv -> classifier.

    channels      width of the features and of the context of each grid
    key_channels  width of query and key; null: half of `channels`
    form          "pyramid": the grids of `sizes`, values as wide as the features, which a 1x1 conv widens to weigh as
                  much as all contexts. "base": one grid of one part, values of half the width
    sizes         parts along each side of the grids
    dropout       of whole channels, before the classifier; released code: 0.05
    """

    can_be_local = True

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Count = 512,
        key_channels: Count | None = None,
        form: Literal["pyramid", "base"] = "pyramid",
        sizes: Annotated[Sequence[Count], MinLen(1)] = (1, 2, 3, 6),
        dropout: Share = 0.0,
    ):
        super().__init__()
        self.sizes = tuple(sizes) if form == "pyramid" else (1,)
        key_channels = key_channels or max(channels // 2, 1)
        value_channels = channels if form == "pyramid" else key_channels
        self.reduce = ConvNormAct(in_channels[-1], channels, 3, bias=True)
        self.grids = nn.ModuleList(ObjectContext(channels, key_channels, value_channels, n) for n in self.sizes)
        width = channels * len(self.sizes)
        self.widen = ConvNormAct(channels, width, bias=True) if form == "pyramid" else nn.Identity()
        self.fuse = ConvNormAct(2 * width, channels, bias=True)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C, h, w) -> logits (B, K, h, w); no extras."""
        x = self.reduce(features[-1])  # (B, C', h, w)
        context = [self.within(grid, x) for grid in self.grids]  # each (B, C', h, w)
        return SegOutput(self.classifier(self.dropout(self.fuse(torch.cat([self.widen(x), *context], dim=1)))), {})

    def attends(self, heard: Heard, size: tuple[int, int]) -> dict[str, Attention]:
        """Return the attention of each grid, by its parts: "1x1", "2x2", ..."""
        return {
            f"{parts}x{parts}": GridAttention(heard[f"grids.{index}.object"], parts, size)
            for index, parts in enumerate(self.sizes)
        }
