"""CCNet head: recurrent criss-cross attention, which reaches the whole image in two loops.

Source: CCNet (Huang et al.: CCNet: Criss-Cross Attention for Semantic Segmentation, TPAMI), Sections 3.1-3.4; the
variants "HV" and "HV&VH" of Table 4. X -> conv -> H -> R loops with shared weights -> H'' -> concat(H'', X) -> conv
-> classifier. The category-consistent loss (`ccl`) reads a 1x1 convolution of H'' to 16 channels.

Where the paper is silent: the two convolutions are one 3x3 conv -> BN -> ReLU each, as in the released code. HV: the
loops alternate between row and column and share their weights, so R = 2 is one horizontal and one vertical step. HV&VH:
the sum of two such chains, one of them column first.

The released code (github.com/speedinghzl/CCNet, the conference version) has an auxiliary head instead of the
category-consistent loss, and differs in the options after `embedding_channels`: `conf/head/ccnet_official.yaml`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from contextseg.contract import Head, Heard, SegOutput
from contextseg.errors import ConfigError
from contextseg.layers.attention import Attention, Chain, Mean
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.criss_cross import CrissCross, CrissCrossAttention
from contextseg.typed import Count, Natural, Share

# The chains of each variant, by the paths of their odd and even loops; the results of several chains are summed.
CHAINS = {
    "criss_cross": [("criss_cross", "criss_cross")],
    "hv": [("horizontal", "vertical")],
    "hv_vh": [("horizontal", "vertical"), ("vertical", "horizontal")],
}


class CCNetHead(Head):
    """Aggregate context by recurrent criss-cross attention.

    channels            width of H, H' and H''
    key_channels        width of Q and K; null: an eighth of `channels`, which the paper's GFLOPs imply
    recurrence          R, the number of loops
    attention           shape of the path: "criss_cross", "hv" or "hv_vh" (Table 4)
    embedding_channels  width of the branch for the category-consistent loss; 0 omits the branch, which a loss without
                        `ccl` needs (parameters that no loss reaches stop DDP)
    gate                a learnt factor, 0 at first, on the sum of the attention; released code: true
    refine              one more 3x3 conv -> BN -> ReLU on H'' before the concatenation; released code: true
    leaky               slope of the ReLUs below zero; released code, InPlace-ABN: 0.01
    dropout             of whole channels, before the classifier; released code: 0.1
    """

    can_emit = emits = frozenset({"embedding"})
    can_be_local = True

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Count = 512,
        key_channels: Count | None = None,
        recurrence: Count = 2,
        attention: Literal["criss_cross", "hv", "hv_vh"] = "criss_cross",
        embedding_channels: Natural = 16,
        gate: bool = False,
        refine: bool = False,
        leaky: Share = 0.0,
        dropout: Share = 0.0,
    ):
        super().__init__()
        if recurrence < 1 or (recurrence % 2 and attention != "criss_cross"):
            raise ConfigError(
                f"head.recurrence={recurrence} with head.attention={attention}: give 1 or more for criss_cross, an "
                "even number for hv and hv_vh (one horizontal and one vertical step each)"
            )
        self.recurrence, self.chains = recurrence, CHAINS[attention]
        self.reduce = ConvNormAct(in_channels[-1], channels, 3, leaky=leaky)
        self.attention = CrissCrossAttention(channels, key_channels, gate=gate)
        self.refine = ConvNormAct(channels, channels, 3, leaky=leaky) if refine else nn.Identity()
        self.fuse = ConvNormAct(channels + in_channels[-1], channels, 3, leaky=leaky)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.embedding = nn.Conv2d(channels, embedding_channels, 1) if embedding_channels else None
        self.emits = frozenset({"embedding"} if embedding_channels else ())

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C, h, w) -> logits (B, K, h, w); extras: embedding (B, 16, h, w), if any."""
        x = features[-1]
        h = self.reduce(x)  # (B, C', h, w)
        context = sum(self.loops(h, chain) for chain in self.chains)  # (B, C', h, w)
        fused = self.fuse(torch.cat([self.refine(context), x], dim=1))  # (B, C', h, w)
        extras = {} if self.embedding is None else {"embedding": self.embedding(context)}
        return SegOutput(self.classifier(self.dropout(fused)), extras)

    def loops(self, h: Tensor, chain: tuple[str, str]) -> Tensor:
        """Run all loops of one chain: H (B, C', h, w) -> H'' (B, C', h, w)."""
        for loop in range(self.recurrence):
            h = self.within(partial(self.attention, path=chain[loop % 2]), h)
        return h

    def attends(self, heard: Heard, size: tuple[int, int]) -> dict[str, Attention]:
        """Return all loops composed into one; for "hv_vh" the mean of its two chains.

        Section 3.3, too, takes the convolutions between the loops as the identity.
        """
        loops = [CrissCross(weights[0]) for weights in heard["attention.criss_cross"]]
        starts = range(0, len(loops), self.recurrence)
        return {"context": Mean([Chain(loops[start : start + self.recurrence]) for start in starts])}
