"""OCR head: each pixel attends to one vector per object class.

Source: Yuan, Chen, Wang: Object-Contextual Representations for Semantic Segmentation (ECCV 2020), Sections 3.2 to 3.4,
Eq. 3-6. Coarse maps from stage 3 make soft regions, supervised by the loss term `aux`; pixels of stage 4 are gathered
into region vectors, and each pixel takes its context from those.

Where the paper is silent: relations are not scaled; no dropout (the released code has 0.05 before the classifier); on
a backbone whose last two maps differ in size (`tiny`) the coarse maps are brought to the size of the last. For
ASPP-OCR (Section 4.4) ASPP takes the place of the 3x3 convolution that makes x, and OCR that of its image pooling.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contextseg.attention import AttentionTap
from contextseg.contract import ConfigError, Head, SegOutput
from contextseg.layers.aspp import ASPP
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.region_attention import (
    CoarseRelation,
    PixelRelation,
    RegionAttention,
    gather_regions,
    soft_regions,
)
from contextseg.layers.resize import resize


class OCRHead(Head):
    """Object-contextual representations.

    channels            width of x, y and z
    key_channels        width of phi, psi and delta; null: half of `channels`
    region_source       the map of the coarse classifier: -2, stage 3 of a ResNet; the only map if there is but one
                        (HRNet with neck=concat, Section 3.3)
    region_supervision  false: the coarse maps learn from the main loss alone, and the loss term `aux` gets an FCN head
                        on stage 3 (Table 1)
    relation            of pixel and region (Table 1): "ocr"; "double_attention", from the pixel only; "acf", the coarse
                        map itself
    aspp_rates          dilation rates of ASPP-OCR, (12, 24, 36); none: plain OCR
    """

    emits = frozenset({"aux_logits"})

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: int = 512,
        key_channels: int | None = None,
        region_source: int = -2,
        region_supervision: bool = True,
        relation: str = "ocr",
        aspp_rates: Sequence[int] = (),
        dropout: float = 0.0,
    ):
        super().__init__()
        key_channels = key_channels or channels // 2
        self.emits = frozenset({"aux_logits"} if region_supervision else ())
        self.region_source = max(region_source, -len(in_channels))
        self.coarse = nn.Conv2d(in_channels[self.region_source], num_classes, 1)
        if aspp_rates:
            self.reduce = ASPP(
                in_channels[-1], channels, rates=aspp_rates, branch_channels=key_channels, image_pooling=False
            )
        else:
            self.reduce = ConvNormAct(in_channels[-1], channels, 3)
        if relation == "ocr":
            self.attention = RegionAttention(channels, key_channels)
        elif relation == "double_attention":
            self.attention = PixelRelation(channels, key_channels, num_classes)
        elif relation == "acf":
            self.attention = CoarseRelation(channels, key_channels)
        else:
            raise ConfigError(f"head.relation={relation}: choose ocr, double_attention or acf")
        self.fuse = ConvNormAct(2 * channels, channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.regions = AttentionTap()  # (B, K, hw), rows sum to 1

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Maps, the last (B, C, h, w) -> logits (B, K, h, w); extras: aux_logits (B, K, h', w'), the coarse maps."""
        coarse = self.coarse(features[self.region_source])  # (B, K, h', w')
        x = self.reduce(features[-1])  # (B, C, h, w)
        maps = resize(coarse, x.shape[-2:])  # (B, K, h, w)
        vectors = gather_regions(self.regions(soft_regions(maps)), x)  # (B, C, K)
        y = self.attention(x, vectors, maps)  # (B, C, h, w)
        z = self.fuse(torch.cat([x, y], dim=1))
        logits = self.classifier(self.dropout(z))
        return SegOutput(logits, {"aux_logits": coarse} if self.emits else {})

    def context(
        self, maps: dict[str, list[Tensor]], point: tuple[int, int], size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """The regions, each as far as the pixel attends to it: sum_k w_ik m_k (h, w)."""
        (regions,), (relation,) = maps["regions"], maps["attention.pixel_region"]
        return {"context": (relation.unflatten(1, size)[0, *point] @ regions[0]).unflatten(0, size)}
