"""CTNet head: channel context finds the classes that an image holds, spatial context distributes them to the pixels.

Source: CTNet (Li, Sun, Tang: CTNet: Context-based Tandem Network for Semantic Segmentation), Sections 3.1 to 3.4. CCM:
channel weights C_m, middle feature X_c = C_m X (Eq. 3), class probabilities P_p, supervised by the loss term `cp`
(Eq. 4), class features M = C_m P_p^T (Eq. 5). SCM: each pixel of X_c attends to the columns of M (Eq. 6 and 7) -> X_s.
Then conv(X_c) and X_s, concatenated -> 1x1 conv -> classifier.

Where the paper is silent: a 3x3 conv makes X of the last map; the convolution of X_c and that of the query are 3x3 (the
released code's); r = 2; P_p is a softmax (the released code's). Where the released code differs (it also puts a ReLU on
M, which is positive anyway), the head has an option: `conf/head/ctnet_official.yaml`.

The variants of Tables 5 and 6, which the paper names but does not describe, are read as follows.

    OCCM    without SCM and X_s: conv(X_c) -> 1x1 conv -> classifier
    OSCM    without CCM: X is the middle feature, and pooled X replaces C_m: P_p = FC(pool(X)) and M = pool(X) P_p^T.
            The tables' OSCM has no `cp`, which belongs to CCM (`loss=aux`); where given, it supervises that P_p
    PANet   both modules on X, independent of each other: CCM gives conv(X_c), SCM is that of OSCM and has its own class
            layer; `cp` supervises that of CCM
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from contextseg.contract import Head, Heard, SegOutput, Shown
from contextseg.errors import ConfigError
from contextseg.layers.attention import Attention, Factored
from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.channel_context import BLOCKS, POOLINGS, make_block, pool
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.region_attention import RegionAttention
from contextseg.typed import Count, Positive, Share

CHOICES = {
    "modules": ("both", "ccm", "scm"),
    "wiring": ("tandem", "parallel"),
    "channel_block": BLOCKS,
    "pooling": POOLINGS,
    "class_activation": ("softmax", "sigmoid"),
}


class PixelClass(RegionAttention):
    """Relate pixels to class features (Eq. 6 and 7), with a 3x3 query; a second tap keeps the shape of the map."""

    def __init__(self, channels: int, key_channels: int, *, bias: bool = False, scale: bool = False):
        super().__init__(channels, key_channels, phi_kernel=3, bias=bias, scale=scale)
        self.pixel_class = AttentionTap()  # (B, K, h, w), classes sum to 1

    def relation(self, features: Tensor, vectors: Tensor, maps: Tensor | None) -> Tensor:
        """Relate features (B, C, h, w) to class features (B, C, K) -> E (B, hw, K), rows sum to 1."""
        relation = super().relation(features, vectors, maps)
        self.pixel_class(relation.mT.unflatten(-1, features.shape[-2:]))
        return relation


class NormedClasses(ConvNormAct):
    """Score classes by the class layer of Eq. 5 and a batch norm over the images of the batch."""

    def __init__(self, channels: int, num_classes: int, *, bias: bool):
        super().__init__(channels, num_classes, bias=bias, act=False)

    def forward(self, vector: Tensor) -> Tensor:
        """Score vectors (B, C) -> (B, K)."""
        return super().forward(vector[:, :, None, None]).flatten(1)


class CTNetHead(Head):
    """Aggregate channel context and spatial context in tandem.

    channels           width of X, X_c and X_s
    key_channels       width of the query, the keys and the values; null: half of `channels`
    modules            "both"; "ccm" (OCCM) or "scm" (OSCM, Table 5)
    wiring             "tandem" or "parallel" (PANet, Table 6)
    channel_block      makes C_m: "mce", "eca", "se" (Table 1), "gc" or "encoding" (Figure 3)
    kernel_sizes       of "mce"; exactly one for "eca" (Figure 7); the other blocks have none
    pooling            global pooling in "mce", "eca" and "se", and of X in OSCM: "avg", "max" or "mix" (Table 2)
    class_activation   makes P_p of its scores: "softmax" or "sigmoid"
    class_probability  return the scores of P_p, for the loss term `cp`; a loss without it needs false: a class layer
                       that nothing else reads is then omitted (parameters that no loss reaches stop DDP)
    dropout            of whole channels, before the classifier
    conv_bias          of the convolutions before a batch norm; released code: true
    channel_bias       b_1 of Eq. 2, in "mce"; released code: false
    class_norm         a batch norm after the class layer, which then needs two images or more per device in training;
                       released code: true
    attention_scale    the scores of Eq. 6 times `key_channels`^-1/2; released code: true
    residual           X_s is replaced by a 3x3 conv -> BN -> ReLU of X_s + X_c, OSCM and PANet: of X_s + X; released
                       code: true
    init_std           standard deviation of the normal distribution from which convolutions start, with zero bias;
                       null: torch's default; released code: 0.001
    """

    can_emit = emits = frozenset({"class_probability"})
    neck = "jpu"
    output_stride = 32

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Count = 512,
        key_channels: Count | None = None,
        modules: Literal["both", "ccm", "scm"] = "both",
        wiring: Literal["tandem", "parallel"] = "tandem",
        channel_block: Literal["mce", "eca", "se", "gc", "encoding"] = "mce",
        kernel_sizes: Sequence[Count] = (9, 17, 33, 65),
        pooling: Literal["avg", "max", "mix"] = "avg",
        class_activation: Literal["softmax", "sigmoid"] = "softmax",
        class_probability: bool = True,
        dropout: Share = 0.0,
        conv_bias: bool = False,
        channel_bias: bool = True,
        class_norm: bool = False,
        attention_scale: bool = False,
        residual: bool = False,
        init_std: Positive | None = None,
    ):
        super().__init__()
        for name, value in zip(CHOICES, (modules, wiring, channel_block, pooling, class_activation), strict=True):
            if value not in CHOICES[name]:
                raise ConfigError(f"head.{name}={value}: choose {', '.join(CHOICES[name])}")
        if wiring == "parallel" and modules != "both":
            raise ConfigError(f"head.wiring=parallel needs two modules, got head.modules={modules}; use modules=both")
        self.emits = frozenset({"class_probability"} if class_probability else ())
        self.pooling, self.class_activation = pooling, class_activation
        class_layer = partial(NormedClasses, bias=conv_bias) if class_norm else nn.Linear
        self.reduce = ConvNormAct(in_channels[-1], channels, 3, bias=conv_bias)
        self.channel_block = self.ccm_classes = self.attention = self.scm_classes = self.refine = None
        if modules != "scm":
            self.channel_block = make_block(
                channel_block, channels, kernel_sizes=kernel_sizes, pooling=pooling, channel_bias=channel_bias
            )
            self.channel_weights = AttentionTap()  # (B, C)
            if class_probability or (modules == "both" and wiring == "tandem"):
                self.ccm_classes = class_layer(channels, num_classes)
        if modules != "ccm":
            self.attention = PixelClass(channels, key_channels or channels // 2, bias=conv_bias, scale=attention_scale)
            if residual:
                self.refine = ConvNormAct(channels, channels, 3, bias=conv_bias)
            if self.channel_block is None or wiring == "parallel":
                self.scm_classes = class_layer(channels, num_classes)
        if self.ccm_classes is not None or self.scm_classes is not None:
            self.probability = AttentionTap()  # (B, K); PANet: of CCM, if supervised, then of SCM
        self.conv = ConvNormAct(channels, channels, 3, bias=conv_bias)
        self.fuse = ConvNormAct(channels if self.attention is None else 2 * channels, channels, bias=conv_bias)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        if init_std is not None:
            start_small(self, init_std)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C', h, w) -> logits (B, K, h, w); extras: class_probability (B, K), if any."""
        x = middle = self.reduce(features[-1])  # (B, C, h, w)
        found = []  # (scores of P_p, M) of each class layer
        if self.channel_block is not None:
            weights = self.channel_weights(self.precise(self.channel_block, x))  # (B, C)
            middle = weights[:, :, None, None].to(x.dtype) * x  # Eq. 3
            if self.ccm_classes is not None:
                found.append(self.class_features(self.ccm_classes, weights))
        parts = [self.conv(middle)]
        if self.attention is not None:
            if self.scm_classes is not None:
                found.append(self.class_features(self.scm_classes, self.precise(pool, x, self.pooling)))
            _, vectors = found[-1]
            queried = middle if self.scm_classes is None else x
            context = self.attention(queried, vectors.to(x.dtype))  # X_s
            parts.append(context if self.refine is None else self.refine(context + queried))
        fused = self.fuse(torch.cat(parts, dim=1))  # (B, C, h, w)
        extras = {"class_probability": found[0][0]} if self.emits else {}
        return SegOutput(self.classifier(self.dropout(fused)), extras)

    def precise(self, block: Callable[..., Tensor], x: Tensor, *settings: str) -> Tensor:
        """Apply a block to (B, C, h, w) in the precision of the weights: half precision loses how images differ."""
        with torch.autocast(x.device.type, enabled=False):
            return block(x.to(self.classifier.weight.dtype), *settings)

    def class_features(self, layer: nn.Module, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Compute Eq. 5: the vector (B, C) of an image -> raw scores (B, K) of P_p, and M (B, C, K)."""
        with torch.autocast(vector.device.type, enabled=False):
            scores = layer(vector)
            probability = scores.softmax(-1) if self.class_activation == "softmax" else scores.sigmoid()
            return scores, vector.unsqueeze(2) * self.probability(probability).unsqueeze(1)

    def attends(self, heard: Heard, size: tuple[int, int]) -> dict[str, Attention]:
        """Return the correlation below Eq. 6, sum_k e_ik e_jk: pixels of the same classes; {} without SCM.

        Rows do not sum to 1.
        """
        if self.attention is None:
            return {}
        relation = heard["attention.pixel_class"][0][0].flatten(1)  # (K, hw)
        return {"context": Factored(relation.mT, relation, size, size)}

    def inside(self, heard: Heard, size: tuple[int, int]) -> dict[str, Shown]:
        """Return P_p (K,), C_m (C,) and E, class by class, as pixel_class (K, h, w), those that the modules have."""
        classes = partial(Shown, by_class=True)
        drawn: dict[str, tuple[str, Callable[..., Shown]]] = {
            "class_probability": ("probability", classes),
            "channel_weights": ("channel_weights", Shown),
            "pixel_class": ("attention.pixel_class", partial(classes, takers="pixel_class")),
        }
        return {name: how(heard[tap][0][0]) for name, (tap, how) in drawn.items() if heard.get(tap)}


def start_small(module: nn.Module, std: float) -> None:
    """Draw the weights of the 2-D convolutions from a normal distribution with `std`, and set their biases to zero."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
