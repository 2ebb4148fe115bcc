"""Ground-truth OCR: an oracle that is given the object regions and the relations; the "ours*" of Figure 1.

Source: Yuan, Chen, Wang: Object-Contextual Representations for Semantic Segmentation (ECCV 2020), Section 3.4: m_ki and
w_ik are 1 where the label of pixel i is k, else 0. It measures the effect of a perfect grouping; it cannot predict.

Where the paper is silent: a region vector is the plain mean of its pixels (the spatial softmax of Eq. 4 would blur a
0/1 map), zero for an absent class; a void pixel belongs to no region, and its context is zero before rho; there is no
coarse map, and the loss term `aux` has an FCN head on stage 3.

Released code (github.com/openseg-group/openseg.pytorch, ideal_ocrnet): `conf/head/ocr_ground_truth_official.yaml`, but
for phi and psi, which it computes also where nothing reads them.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.contract import Head, SegOutput
from contextseg.errors import ConfigError
from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.classifier import pixel_classifier
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.region_attention import (
    GivenRelation,
    RegionAttention,
    RegionContext,
    gather_regions,
    soft_regions,
)
from contextseg.layers.resize import resize
from contextseg.typed import Count, Natural, Share


class OCRGroundTruthHead(Head):
    """Aggregate context by the regions and relations of the ground truth.

    ideal        the ideal parts: "both"; "gather", the regions alone, or "distribute", the relations alone (released
                 code); the other part is that of OCR
    void_region  void pixels are one more region; in "distribute", which has one region per class, they count as the
                 last; released: true
    label_mode   the label of a pixel of the map, see `torch.nn.functional.interpolate`: "nearest-exact", at the centre
                 of its cell; released: "nearest", near the upper left corner
    bias         of all convolutions before a batch norm

    The other settings are those of `OCRHead`.
    """

    can_emit = frozenset({"aux_logits"})
    needs_mask = True

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Count = 512,
        key_channels: Count | None = None,
        ideal: Literal["both", "gather", "distribute"] = "both",
        void_region: bool = False,
        label_mode: Literal["nearest", "nearest-exact"] = "nearest-exact",
        coarse_kernel: Natural = 0,
        coarse_channels: Natural = 512,
        coarse_dropout: Share = 0.0,
        transform_layers: Count = 1,
        scale: bool = False,
        bias: bool = False,
        dropout: Share = 0.0,
        align_corners: bool = False,
    ):
        super().__init__()
        if ideal not in ("both", "gather", "distribute"):
            raise ConfigError(f"head.ideal={ideal}: choose both, gather or distribute")
        if label_mode not in ("nearest", "nearest-exact"):
            raise ConfigError(f"head.label_mode={label_mode}: choose nearest or nearest-exact")
        key_channels = key_channels or channels // 2
        self.num_classes, self.label_mode, self.void_region = num_classes, label_mode, void_region
        self.count = num_classes + (void_region and ideal != "distribute")  # regions
        self.align_corners = align_corners
        self.reduce = ConvNormAct(in_channels[-1], channels, 3, bias=bias)
        self.coarse = None
        if ideal == "distribute":
            self.emits = frozenset({"aux_logits"})
            self.source = max(-2, -len(in_channels))
            self.coarse = pixel_classifier(
                in_channels[self.source],
                num_classes,
                kernel_size=coarse_kernel,
                channels=coarse_channels,
                dropout=coarse_dropout,
                bias=bias,
            )
        if ideal == "gather":
            self.attention: RegionContext = RegionAttention(
                channels, key_channels, transform_layers=transform_layers, scale=scale, bias=bias
            )
        else:
            self.attention = GivenRelation(channels, key_channels, bias=bias)
        self.fuse = ConvNormAct(2 * channels, channels, bias=bias)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.regions = AttentionTap()  # (B, N, hw), N regions, rows sum to 1, or to 0 for an absent class

    def forward(self, features: Sequence[Tensor], mask: Tensor | None = None) -> SegOutput:
        """Segment maps, the last (B, C, h, w), with mask uint8 (B, H, W) -> logits (B, K, h, w).

        Extras: aux_logits (B, K, h', w'), the coarse maps, if the regions come from them.
        """
        assert mask is not None
        x = self.reduce(features[-1])  # (B, C, h, w)
        maps = self.membership(mask, x.shape[-2:])  # (B, N, h, w)
        extras = {}
        if self.coarse is None:
            regions = maps.flatten(2) / maps.sum((2, 3)).clamp(min=1).unsqueeze(-1)  # (B, N, hw)
        else:
            extras["aux_logits"] = self.coarse(features[self.source])  # (B, K, h', w')
            regions = soft_regions(resize(extras["aux_logits"], x.shape[-2:], self.align_corners))
        vectors = gather_regions(self.regions(regions.to(x.dtype)), x)  # (B, C, N)
        y = self.attention(x, vectors, maps)  # (B, C, h, w)
        z = self.fuse(torch.cat([x, y], dim=1))
        return SegOutput(self.classifier(self.dropout(z)), extras)

    def membership(self, mask: Tensor, size: Sequence[int]) -> Tensor:
        """Mark with 1 the pixels of a map of `size` whose label is k: uint8 (B, H, W) -> float32 (B, N, h, w)."""
        labels = F.interpolate(mask.unsqueeze(1).float(), size, mode=self.label_mode)  # (B, 1, h, w)
        if self.void_region:
            labels = labels.masked_fill(labels >= self.num_classes, self.count - 1)
        return (labels == torch.arange(self.count, device=mask.device).view(-1, 1, 1)).float()  # (B, N, h, w)
