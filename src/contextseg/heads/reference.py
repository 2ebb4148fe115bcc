"""Reference head: the plainest network that has one mechanism of the papers, and the same network without it.

Where the two differ (docs/diagnostic.md), the data need that mechanism. The head stands for no paper. It is a 3x3 conv
-> BN -> ReLU, a context for each pixel, a 1x1 conv -> BN -> ReLU over both, and a classifier. The contexts:

    mean         the mean over the image, the same for all pixels
    descriptors  N vectors; a pixel gives to, and takes from, those whose anchors are similar to its features (AGLN,
                 OCR). Without: num_descriptors=1, the mean
    relation     dot-product attention, softmax(q k / sqrt(d)) v (self-attention, OCR). Without: queries=false, one
                 query for all pixels, the mean of theirs, hence one context
    presence     scores of the classes that the image holds, from the mean, and a vector for each class that is present
                 (CTNet). Without: a loss that does not read them, loss=ce for loss=cp
    affinity     which pixels share a class; the mean over those that do and over those that do not (CPNet). It is
                 "learnt", sigmoid(q k / sqrt(d)), with loss=affinity or, without its supervision, loss=ce; or "ideal",
                 from the ground truth, an oracle. Without: "uniform", both are the mean over the image
    detail       the mean; the result is up-sampled to stride 4 and joined there by the backbone's map of that stride:
                 "gated", multiplied in each channel by sigmoid(1x1 conv) of the deep map (AGLN's refinement), or
                 "added" unchanged. Without: "none". The classifier follows at once, so the gate is all that goes beyond
                 a sum of the two
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.contract import Head, Heard, SegOutput
from contextseg.errors import ConfigError
from contextseg.layers.attention import Attention, Dense
from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.resize import resize
from contextseg.typed import Count

EMITS = {"presence": "class_probability", "affinity": "prior_logits"}
MECHANISMS = ("mean", "descriptors", "relation", "presence", "affinity", "detail")
AFFINITIES = ("learnt", "ideal", "uniform")
DETAILS = ("gated", "added", "none")


class ReferenceHead(Head):
    """Aggregate context by one mechanism, or by the same network without it.

    mechanism        makes the context of a pixel: one of `MECHANISMS`
    channels         width
    key_channels     d, width of queries, keys and anchors
    num_descriptors  N of "descriptors"
    queries          false: one query for all pixels ("relation")
    affinity         "learnt", "ideal" or "uniform" ("affinity")
    detail           "gated", "added" or "none" ("detail")
    align_corners    of the resize of "detail"

    Raises `ConfigError` for an unknown mechanism, affinity or detail.
    """

    can_emit = frozenset(EMITS.values())

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        mechanism: Literal["mean", "descriptors", "relation", "presence", "affinity", "detail"] = "relation",
        channels: Count = 64,
        key_channels: Count = 32,
        num_descriptors: Count = 16,
        queries: bool = True,
        affinity: Literal["learnt", "ideal", "uniform"] = "learnt",
        detail: Literal["gated", "added", "none"] = "gated",
        align_corners: bool = False,
    ):
        super().__init__()
        self.align_corners = align_corners
        if mechanism not in MECHANISMS:
            raise ConfigError(f"head.mechanism={mechanism}: choose {', '.join(MECHANISMS)}")
        if affinity not in AFFINITIES:
            raise ConfigError(f"head.affinity={affinity}: choose {', '.join(AFFINITIES)}")
        if detail not in DETAILS:
            raise ConfigError(f"head.detail={detail}: choose {', '.join(DETAILS)}")
        self.mechanism, self.queries = mechanism, queries
        self.affinity = affinity if mechanism == "affinity" else None
        self.needs_mask = self.affinity == "ideal"
        emits = mechanism == "presence" or self.affinity == "learnt"
        self.emits = frozenset({EMITS[mechanism]} if emits else ())
        self.reduce = ConvNormAct(in_channels[-1], channels, 3)
        if mechanism == "descriptors":
            self.place = ConvNormAct(channels, key_channels, act=False)
            self.anchors = nn.Parameter(torch.randn(num_descriptors, key_channels))
            self.sharpness = nn.Parameter(torch.tensor(10.0))
        if mechanism == "relation" or self.affinity == "learnt":
            self.query, self.key = nn.Conv2d(channels, key_channels, 1), nn.Conv2d(channels, key_channels, 1)
        if mechanism in ("descriptors", "relation"):
            self.value = nn.Conv2d(channels, channels, 1)
        if mechanism == "presence":
            self.present = nn.Linear(channels, num_classes)
            self.embed = nn.Linear(num_classes, channels)
        self.relation = AttentionTap()  # of "relation" and a learnt affinity (B, hw, hw), row = pixel, column = partner
        self.fuse = ConvNormAct((3 if mechanism == "affinity" else 2) * channels, channels)
        if mechanism == "detail":
            self.lateral = ConvNormAct(in_channels[-2], channels) if detail != "none" else None
            self.gate = nn.Conv2d(channels, channels, 1) if detail == "gated" else None
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor], mask: Tensor | None = None) -> SegOutput:
        """Segment maps, the last (B, C, h, w) [for an ideal affinity with mask uint8 (B, H, W)] -> logits (B, K, h, w).

        The logits of "detail" have the size of the last map but one. Extras: class_probability (B, K) of "presence",
        prior_logits (B, hw, hw) of a learnt affinity.
        """
        x = self.reduce(features[-1])  # (B, C', h, w)
        mean = x.mean((2, 3))  # (B, C')
        extras = {}
        if self.mechanism == "descriptors":
            context = self.described(x)
        elif self.mechanism == "relation":
            context = self.related(x)
        elif self.mechanism == "presence":
            extras["class_probability"] = scores = self.present(mean)  # (B, K)
            context = spread(self.embed(scores.sigmoid()), x)
        elif self.mechanism == "affinity":
            if self.affinity == "learnt":
                extras["prior_logits"] = self.products(x)  # (B, hw, hw)
                same = self.relation(extras["prior_logits"].sigmoid())
            elif self.affinity == "ideal":
                assert mask is not None
                same = ideal_affinity(mask, x)
            else:
                same = x.new_full((), 0.5)
            context = self.parted(x, same)
        else:
            context = spread(mean, x)
        y = self.fuse(torch.cat([x, context], dim=1))  # (B, C', h, w)
        if self.mechanism == "detail":
            y = resize(y, features[-2].shape[-2:], self.align_corners)  # (B, C', h', w')
            y = self.refined(y, features[-2])
        return SegOutput(self.classifier(y), extras)

    def described(self, x: Tensor) -> Tensor:
        """Compute the context of "descriptors": (B, C', h, w) -> (B, C', h, w).

        Descriptors are means over the pixels near an anchor, and are distributed by the same weights.
        """
        places = F.normalize(self.place(x).flatten(2), dim=1)  # (B, d, hw)
        anchors = F.normalize(self.anchors, dim=1).to(places.dtype)  # (N, d)
        near = (self.sharpness * (anchors @ places)).softmax(1)  # (B, N, hw)
        descriptors = self.value(x).flatten(2) @ near.mT / near.sum(2).unsqueeze(1)  # (B, C', N)
        return (descriptors @ near).view_as(x)

    def related(self, x: Tensor) -> Tensor:
        """Compute the context of "relation": (B, C', h, w) -> (B, C', h, w)."""
        weights = self.relation(self.products(x).softmax(-1))  # (B, hw, hw)
        return (self.value(x).flatten(2) @ weights.mT).view_as(x)

    def parted(self, x: Tensor, same: Tensor) -> Tensor:
        """Compute means over same class and others: (B, C', h, w), affinity (B, hw, hw) or () -> (B, 2 C', h, w)."""
        pixels = x.flatten(2)  # (B, C', hw)
        same = same.expand(len(x), pixels.shape[2], pixels.shape[2])
        parts = [pixels @ (part / part.sum(-1, keepdim=True).clamp(min=1e-3)).mT for part in (same, 1 - same)]
        return torch.cat(parts, dim=1).unflatten(2, x.shape[-2:])

    def refined(self, y: Tensor, fine: Tensor) -> Tensor:
        """Add the detail of a fine map (B, C, h, w) to the deep map (B, C', h, w) -> (B, C', h, w)."""
        if self.lateral is None:
            return y
        detail = self.lateral(fine)
        return y + (detail if self.gate is None else self.gate(y).sigmoid() * detail)

    def products(self, x: Tensor) -> Tensor:
        """Compute products of queries and keys over the root of d: (B, C', h, w) -> (B, hw, hw), row = pixel."""
        query, key = self.query(x).flatten(2), self.key(x).flatten(2)  # (B, d, hw)
        if not self.queries:
            query = query.mean(2, keepdim=True).expand_as(query)
        return query.mT @ key / key.shape[1] ** 0.5

    def attends(self, heard: Heard, size: tuple[int, int]) -> dict[str, Attention]:
        """Return the weights of a pixel's partners, for "relation" and a learnt affinity."""
        return {"context": Dense(heard["relation"][0][0], size, size)} if heard["relation"] else {}


def ideal_affinity(mask: Tensor, x: Tensor) -> Tensor:
    """Mark with 1 the pairs of pixels of x (B, C, h, w) with one label: mask uint8 (B, H, W) -> (B, hw, hw)."""
    labels = F.interpolate(mask.unsqueeze(1).float(), x.shape[-2:], mode="nearest-exact").flatten(1)  # (B, hw)
    return (labels.unsqueeze(2) == labels.unsqueeze(1)).to(x.dtype)


def spread(vector: Tensor, x: Tensor) -> Tensor:
    """Expand a vector (B, C) to the size of x: (B, C, h, w)."""
    return vector[..., None, None].expand(-1, -1, *x.shape[-2:])
