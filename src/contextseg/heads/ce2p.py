"""CE2P head: context of the last map, details of a finer one, and edges between parts, for human parsing.

Source: Ruan, Liu, Huang, Wei, Wei, Zhao: Devil in the Details: Towards Accurate Single and Multiple Human Parsing
(AAAI 2019), Figure 2. CCNet (Huang et al., TPAMI, Section 4.5 and Table 7) replaces its context module by
recurrent criss-cross attention, and adds its category-consistent loss; OCR's released network for LIP on a ResNet
(openseg, `ce2p_ocrnet`) replaces it by object regions. The context is up-sampled to the high-resolution map; the edge
branch reads that map and those between it and the last; the features of both make the labels.

Loss terms: `aux` reads a classifier of the high-resolution module alone, `edge` the scores of the edge branch,
`regions` OCR's coarse maps.

Where CE2P is silent, the layers and widths are those of its code (github.com/liutinglt/CE2P). Where CCNet is, the
context module is CCNet's: conv -> R loops -> concat with the input -> conv. OCR's is that of its released code.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from contextseg.contract import Head, Heard, SegOutput, Shown
from contextseg.layers.attention import Attention, Chain, Factored
from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.classifier import pixel_classifier
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.criss_cross import CrissCross as CrissCrossWeights
from contextseg.layers.criss_cross import CrissCrossAttention
from contextseg.layers.edge_branch import EdgeBranch
from contextseg.layers.pyramid_pooling import PyramidPooling
from contextseg.layers.region_attention import RegionAttention, gather_regions, soft_regions
from contextseg.layers.resize import resize
from contextseg.typed import Count, Natural, Share


class CE2PHead(Head):
    """Embed context, restore details, and let edges between parts help to label them.

    strides             of the maps, counted from the end
    channels            width of the context; the modules behind it have half of it
    low_channels        width to which the high-resolution map is reduced
    low_stride          of the high-resolution map: the first of at least this stride, but for the last
    context             "psp", grids of averages (CE2P); "rcca", recurrent criss-cross attention (CCNet); "ocr", object
                        regions (OCR)
    recurrence          R, the number of loops of "rcca"
    embedding_channels  width of a 1x1 conv of the context, for the category-consistent loss; 0: none
    region_supervision  the loss term `regions` teaches the coarse maps of "ocr"; false: the other terms alone do
    parsing             a classifier of the high-resolution module, for the loss term `aux`
    edge                the edge branch, whose scores the loss term `edge` teaches
    dropout             of whole channels, before the classifier
    align_corners       of every resize
    """

    can_emit = frozenset({"aux_logits", "edge_logits", "embedding", "region_logits"})
    emits = frozenset({"aux_logits", "edge_logits"})
    output_stride = 16

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        strides: Sequence[Count] = (4, 8, 16, 16),
        channels: Count = 512,
        low_channels: Count = 48,
        low_stride: Count = 4,
        context: Literal["psp", "rcca", "ocr"] = "psp",
        recurrence: Count = 2,
        embedding_channels: Natural = 0,
        region_supervision: bool = True,
        parsing: bool = True,
        edge: bool = True,
        dropout: Share = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.align_corners = align_corners
        extras = {"aux_logits": parsing, "edge_logits": edge, "embedding": embedding_channels}
        extras["region_logits"] = context == "ocr" and region_supervision
        self.emits = frozenset(name for name, wanted in extras.items() if wanted)
        strides, half = strides[-len(in_channels) :], max(channels // 2, 1)
        finer = [index for index in range(-len(strides), -1) if strides[index] >= low_stride]
        self.finer = finer or [max(-2, -len(in_channels))]  # counted from the end, the high-resolution map first
        self.rcca = CrissCross(in_channels[-1], channels, recurrence) if context == "rcca" else None
        self.ocr = self.pool = None
        if context == "ocr":
            self.ocr = ObjectRegions(in_channels, num_classes, channels, align_corners)
        if context == "psp":
            self.pool = PyramidPooling(in_channels[-1], channels, width=channels, align_corners=align_corners)
        self.embedding = nn.Conv2d(channels, embedding_channels, 1) if embedding_channels else None
        self.reduce = ConvNormAct(channels, half)
        self.low = ConvNormAct(in_channels[self.finer[0]], low_channels)
        self.restore = nn.Sequential(ConvNormAct(half + low_channels, half), ConvNormAct(half, half))
        self.parsing = nn.Conv2d(half, num_classes, 1) if parsing else None
        self.edge = None
        if edge:
            self.edge = EdgeBranch([in_channels[index] for index in self.finer], half, align_corners=align_corners)
            self.edges = AttentionTap()  # (B, h, w), the probability of an edge
        width = half + (len(self.finer) * half if edge else 0)
        self.fuse = ConvNormAct(width, half)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(half, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, fine to coarse -> logits (B, K, h, w) of the size of the high-resolution map.

        Extras, if any: aux_logits (B, K, h, w), edge_logits (B, 2, h, w), embedding (B, 16, h', w') of the last map,
        region_logits (B, K, h'', w'') of the map before it.
        """
        finer = [features[index] for index in self.finer]
        extras: dict[str, Tensor] = {}
        context = embedded = features[-1]
        if self.rcca is not None:
            context, embedded = self.rcca(context)  # each (B, C, h', w')
        elif self.ocr is not None:
            context, coarse = self.ocr(features)  # (B, C, h', w'), (B, K, h'', w'')
            embedded = context
            extras |= {"region_logits": coarse} if "region_logits" in self.emits else {}
        elif self.pool is not None:
            context = embedded = self.pool(context)
        if self.embedding is not None:
            extras["embedding"] = self.embedding(embedded)
        low = self.low(finer[0])  # (B, 48, h, w)
        context = resize(self.reduce(context), low.shape[-2:], self.align_corners)
        x = self.restore(torch.cat([context, low], dim=1))  # (B, C / 2, h, w)
        if self.parsing is not None:
            extras["aux_logits"] = self.parsing(x)
        if self.edge is not None:
            extras["edge_logits"], sides = self.edge(finer)
            self.edges(extras["edge_logits"].softmax(1)[:, 1])
            x = torch.cat([x, sides], dim=1)
        return SegOutput(self.classifier(self.dropout(self.fuse(x))), extras)

    def attends(self, heard: Heard, size: tuple[int, int]) -> dict[str, Attention]:
        """Return what each place of the last map takes from the others; {} for "psp".

        Of "rcca" all loops composed into one, of "ocr" the regions, weighted by a place's relation to each.
        """
        if self.ocr is not None:
            (regions,), (relation,) = heard["ocr.regions"], heard["ocr.attention.pixel_region"]
            places = (regions.shape[-2], regions.shape[-1])
            return {"context": Factored(relation[0], regions[0].flatten(1), places, places)}
        if self.rcca is None:
            return {}
        return {"context": Chain([CrissCrossWeights(loop[0]) for loop in heard["rcca.attention.criss_cross"]])}

    def inside(self, heard: Heard, size: tuple[int, int]) -> dict[str, Shown]:
        """Return the probability of an edge (1, h, w); {} without the edge branch."""
        return {} if self.edge is None else {"edges": Shown(heard["edges"][0])}


class CrissCross(nn.Module):
    """Embed context as CCNet does: 3x3 conv -> R loops with shared weights -> concat with the input -> 3x3 conv."""

    def __init__(self, in_channels: int, channels: int, recurrence: int):
        super().__init__()
        self.recurrence = recurrence
        self.reduce = ConvNormAct(in_channels, channels, 3)
        self.attention = CrissCrossAttention(channels)
        self.fuse = ConvNormAct(channels + in_channels, channels, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Turn features (B, C', h, w) into those with context, and what the loops return, each (B, C, h, w)."""
        context = self.reduce(x)
        for _ in range(self.recurrence):
            context = self.attention(context)
        return self.fuse(torch.cat([context, x], dim=1)), context


class ObjectRegions(nn.Module):
    """Embed context as OCR's released code does, of the last map as it is: coarse maps of the one before -> regions ->
    object context -> concat with the map -> 1x1 conv.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, channels: int, align_corners: bool):
        super().__init__()
        last, before = in_channels[-1], in_channels[max(-2, -len(in_channels))]
        self.align_corners = align_corners
        self.coarse = pixel_classifier(before, num_classes, kernel_size=3, channels=channels, dropout=0.1)
        self.attention = RegionAttention(last, max(channels // 2, 1), transform_layers=2, scale=True, bias=True)
        self.fuse = ConvNormAct(2 * last, channels, bias=True)
        self.regions = AttentionTap(levels=True)  # (B, K, h, w), each map of sum 1

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Turn maps, the last (B, C', h, w), into its context (B, C, h, w), and raw coarse maps (B, K, h'', w'')."""
        x, size = features[-1], features[-1].shape[-2:]
        coarse = self.coarse(features[max(-2, -len(features))])
        maps = resize(coarse, size, self.align_corners)
        regions = self.regions(soft_regions(self.regions.level(maps)).unflatten(-1, size))
        context = self.attention(x, gather_regions(regions.flatten(2), x))
        return self.fuse(torch.cat([context, x], dim=1)), coarse
