"""Non-local head, as CCNet's authors ran it: "NL" of Tables 4 and 5, and "NL (R=2)", the block applied twice.

Source: Wang et al.: Non-local Neural Networks (CVPR 2018); CCNet (Huang et al., TPAMI), Section 4.3.2. CCNet gives
only the cost of its block (Q and K of 64 channels, V of 512) and not the layers around it, so they are CCNet's: conv ->
R blocks with shared weights -> concat with the input -> conv -> classifier, each conv one 3x3 conv -> BN -> ReLU.

The module's name is a keyword: `create_model("nonlocal")` imports it, an import statement cannot.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contextseg.contract import Head, Heard, SegOutput
from contextseg.layers.attention import Attention, Chain, DotProduct
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.non_local import NonLocal
from contextseg.typed import Count, Share


class NonLocalHead(Head):
    """Aggregate context by attention of every pixel to every pixel.

    channels      width of the block
    key_channels  width of Q and K; null: an eighth of `channels`
    recurrence    R, the number of loops
    concat        the last convolution sees the input too
    gate          a learnt factor on the sum of the attention that starts at 0 (as in CCNet's released code)
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
        recurrence: Count = 1,
        concat: bool = True,
        gate: bool = False,
        dropout: Share = 0.0,
    ):
        super().__init__()
        self.recurrence, self.concat = recurrence, concat
        self.reduce = ConvNormAct(in_channels[-1], channels, 3)
        self.attention = NonLocal(channels, key_channels, gate=gate)
        self.fuse = ConvNormAct(channels + in_channels[-1] if concat else channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C, h, w) -> logits (B, K, h, w); no extras."""
        x = features[-1]
        context = self.reduce(x)  # (B, C', h, w)
        for _ in range(self.recurrence):
            context = self.within(self.attention, context)
        if self.concat:
            context = torch.cat([context, x], dim=1)  # (B, C' + C, h, w)
        return SegOutput(self.classifier(self.dropout(self.fuse(context))), {})

    def attends(self, heard: Heard, size: tuple[int, int]) -> dict[str, Attention]:
        """Return the product of the loops' attention matrices."""
        loops = [DotProduct(query[0], key[0], size, size) for query, key in heard["attention.non_local"]]
        return {"context": Chain(loops)}
