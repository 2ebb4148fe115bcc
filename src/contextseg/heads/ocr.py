"""OCR head: each pixel attends to one vector per object class.

Source: Yuan, Chen, Wang: Object-Contextual Representations for Semantic Segmentation (ECCV 2020), Sections 3.2 to 3.4,
Eq. 3-6. Coarse maps from stage 3, supervised by the loss term `aux`, become soft regions; pixels of stage 4 are
gathered into region vectors, and each pixel takes its context from those.

Where the paper is silent: relations are not scaled; no dropout; on a backbone whose last two maps differ in size
(`tiny`) the coarse maps are resized to the last. In ASPP-OCR (Section 4.4) ASPP replaces the 3x3 convolution that makes
x, and OCR replaces its image pooling.

Released code: github.com/openseg-group/openseg.pytorch (`ocr_official`, `ocr_aspp_official`) and
github.com/HRNet/HRNet-Semantic-Segmentation (`ocr_hrnet_official`); where they differ, there is an option.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from contextseg.contract import Head, Heard, SegOutput, Shown
from contextseg.errors import ConfigError
from contextseg.layers.aspp import ASPP
from contextseg.layers.attention import Attention, Factored
from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.classifier import pixel_classifier
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.region_attention import (
    CoarseRelation,
    PixelRelation,
    RegionAttention,
    RegionContext,
    gather_regions,
    soft_regions,
)
from contextseg.layers.resize import resize
from contextseg.typed import Count, Natural, Share


class OCRHead(Head):
    """Aggregate context by object regions.

    channels            width of x, y and z
    key_channels        width of phi, psi and delta; null: half of `channels`
    region_source       the map of the coarse classifier: -2, stage 3 of a ResNet; the only map if there is but one
                        (HRNet with neck=concat, Section 3.3)
    region_supervision  false: the coarse maps learn from the main loss alone, and the loss term `aux` gets an FCN head
                        on stage 3 (Table 1)
    regions             number of soft regions; null: one per class, as published. Another number has no labels, and
                        needs region_supervision=false
    relation            of pixel and region (Table 1): "ocr"; "double_attention", from the pixel only; "acf", the coarse
                        map itself
    aspp_rates          dilation rates of ASPP-OCR, (12, 24, 36); none: plain OCR
    aspp_beside         released ASPP-OCR: the context y is one more branch of ASPP, which then makes z; all widths are
                        `key_channels`, those of phi, psi and delta half of it
    coarse_kernel       kernel size of one more convolution before the coarse classifier; 0: none; released: 3, HRNet's
                        own code 1
    coarse_channels     width of that convolution; 0: as many as the map has (HRNet)
    coarse_dropout      of whole channels, after that convolution; released: 0.05 on ResNets, 0.1 for ASPP-OCR
    transform_layers    blocks in phi and in psi; released: 2
    scale               w_ik is a softmax of the products times `key_channels`^-0.5; released: true
    entry_bias          of the convolutions that make x and come before the coarse classifier; released: true
    bias                of those in phi, psi, delta, rho, g and ASPP; released: true, HRNet's own code false
    leaky               slope of all ReLUs below zero; 0.01 for weights that were trained with InPlace-ABN
    dropout             of whole channels, before the classifier; released: 0.05, 0.1 for ASPP-OCR
    align_corners       how coarse maps of another size are resized
    """

    can_emit = emits = frozenset({"aux_logits"})
    can_be_local = True

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Count = 512,
        key_channels: Count | None = None,
        region_source: Annotated[int, Ge(-4), Le(-1)] = -2,
        region_supervision: bool = True,
        regions: Count | None = None,
        relation: Literal["ocr", "double_attention", "acf"] = "ocr",
        aspp_rates: Sequence[Count] = (),
        aspp_beside: bool = False,
        coarse_kernel: Natural = 0,
        coarse_channels: Natural = 512,
        coarse_dropout: Share = 0.0,
        transform_layers: Count = 1,
        scale: bool = False,
        entry_bias: bool = False,
        bias: bool = False,
        leaky: Share = 0.0,
        dropout: Share = 0.0,
        align_corners: bool = False,
    ):
        super().__init__()
        if aspp_beside and not aspp_rates:
            raise ConfigError("head.aspp_beside=true without ASPP: give head.aspp_rates, such as [12,24,36]")
        if regions is not None and region_supervision:
            raise ConfigError(f"head.regions={regions} have no labels: give head.region_supervision=false")
        regions = num_classes if regions is None else regions
        key_channels = key_channels or channels // 2
        aspp = partial(
            ASPP,
            in_channels[-1],
            rates=aspp_rates,
            branch_channels=key_channels,
            image_pooling=False,
            bias=bias,
            leaky=leaky,
        )
        self.aspp_beside, self.align_corners = aspp_beside, align_corners
        self.emits = frozenset({"aux_logits"} if region_supervision else ())
        self.region_source = max(region_source, -len(in_channels))
        self.coarse = pixel_classifier(
            in_channels[self.region_source],
            regions,
            kernel_size=coarse_kernel,
            channels=coarse_channels,
            dropout=coarse_dropout,
            bias=entry_bias,
            leaky=leaky,
        )
        if aspp_rates and not aspp_beside:
            self.reduce: nn.Module = aspp(channels)
        else:
            if aspp_beside:
                channels, key_channels = key_channels, key_channels // 2
            self.reduce = ConvNormAct(in_channels[-1], channels, 3, bias=entry_bias, leaky=leaky)
        if relation == "ocr":
            self.attention: RegionContext = RegionAttention(
                channels, key_channels, transform_layers=transform_layers, scale=scale, bias=bias, leaky=leaky
            )
        elif relation == "double_attention":
            self.attention = PixelRelation(channels, key_channels, regions, bias=bias, leaky=leaky)
        elif relation == "acf":
            self.attention = CoarseRelation(channels, key_channels, bias=bias, leaky=leaky)
        else:
            raise ConfigError(f"head.relation={relation}: choose ocr, double_attention or acf")
        if aspp_beside:
            self.fuse: nn.Module = aspp(channels, beside=channels)
        else:
            self.fuse = ConvNormAct(2 * channels, channels, bias=bias, leaky=leaky)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.regions = AttentionTap(levels=True)  # (B, M, hw) of M regions, rows sum to 1

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C, h, w) -> logits (B, K, h, w); extras: coarse maps aux_logits (B, K, h', w').

        There are M = K regions, unless `regions` says otherwise.
        """
        coarse = self.coarse(features[self.region_source])  # (B, M, h', w')
        x = self.reduce(features[-1])  # (B, C, h, w)
        maps = resize(coarse, x.shape[-2:], self.align_corners)  # (B, M, h, w)
        y = self.within(self.object_context, x, maps)  # (B, C, h, w)
        z = self.fuse(features[-1], y) if self.aspp_beside else self.fuse(torch.cat([x, y], dim=1))
        logits = self.classifier(self.dropout(z))
        return SegOutput(logits, {"aux_logits": coarse} if self.emits else {})

    def object_context(self, x: Tensor, maps: Tensor) -> Tensor:
        """Gather region vectors and distribute them: pixels (B, C, h, w), raw maps (B, M, h, w) -> (B, C, h, w)."""
        vectors = gather_regions(self.regions(soft_regions(self.regions.level(maps))), x)  # (B, C, M)
        return self.attention(x, vectors, maps)

    def attends(self, heard: Heard, size: tuple[int, int]) -> dict[str, Attention]:
        """Return the regions, weighted by a pixel's relation to each: sum_k w_ik m_kj."""
        (regions,), (relation,) = heard["regions"], heard["attention.pixel_region"]
        return {"context": Factored(relation[0], regions[0], size, size)}

    def inside(self, heard: Heard, size: tuple[int, int]) -> dict[str, Shown]:
        """Return the soft regions m, each of sum one, and the relation w of every pixel to each, both (M, h, w)."""
        regions, relation = heard["regions"][0][0], heard["attention.pixel_region"][0][0]  # (M, hw), (hw, M)
        by_class = "aux_logits" in self.emits  # without supervision a region is of no class
        shown = partial(Shown, by_class=by_class, peaks=relation.amax(0), takers="relations")
        return {
            "regions": shown(regions.unflatten(1, size), white="each"),
            "relations": shown(relation.mT.unflatten(1, size)),
        }
