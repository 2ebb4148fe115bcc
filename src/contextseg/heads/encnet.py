"""EncNet head: channels are weighed by what the image as a whole contains, which a loss on class presence teaches.

Source: Zhang, Dana, Shi, Zhang, Wang, Tyagi, Agrawal: Context Encoding for Semantic Segmentation (CVPR 2018), Section 3
and Figure 2. X = 3x3 conv of stage 4; e = `Encoding` of X; Y = X * sigmoid(W e) -> classifier. The loss term `se` reads
which classes a linear layer of e finds in the image; `aux_se` the same from a second encoding, of stage 3. With
neck=jpu it is FastFCN (`head=fastfcn`).

Where the paper is silent: the width of X is 512, with BN and ReLU; no dropout; stage 3 is reduced as stage 4 is.

Released code: github.com/zhanghang1989/PyTorch-Encoding (`encnet_official`) and github.com/wuhuikai/FastFCN
(`fastfcn_official`), which have an auxiliary FCN head on stage 3 and the options after `aux_class_probability`.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from contextseg.contract import Head, Heard, SegOutput, Shown
from contextseg.errors import ConfigError
from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.encoding import Encoding
from contextseg.layers.resize import resize
from contextseg.typed import Count, Share


class EncNetHead(Head):
    """Weigh channels by an encoding of the whole image.

    channels                 width of X
    codewords                number of codewords
    class_probability        a linear layer that finds the classes of the image, for the loss term `se`
    aux_class_probability    another encoding and linear layer on the last map but one, for `aux_se`
    kernel_size              of the convolution that makes X; FastFCN: 1, after its neck
    project                  a 1x1 conv -> BN -> ReLU before the encoding; released code: true
    aggregate                of the codewords: "sum", or "mean" (released code)
    residual                 Y = ReLU(X + X * sigmoid(W e)); released code: true
    lateral                  X is a 3x3 conv -> BN -> ReLU of itself and the two maps before the last, each reduced by a
                             1x1 conv; released code: true on PASCAL-Context
    dropout                  of whole channels, before the classifier; released code: 0.1
    align_corners            how the maps of `lateral` are resized to the last
    """

    can_emit = emits = frozenset({"class_probability", "aux_class_probability"})

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Count = 512,
        codewords: Count = 32,
        class_probability: bool = True,
        aux_class_probability: bool = True,
        kernel_size: Literal[1, 3] = 3,
        project: bool = False,
        aggregate: Literal["sum", "mean"] = "sum",
        residual: bool = False,
        lateral: bool = False,
        dropout: Share = 0.0,
        align_corners: bool = False,
    ):
        super().__init__()
        if lateral and len(in_channels) < 3:
            raise ConfigError(f"head.lateral=true reads three maps, got {len(in_channels)}; use head.lateral=false")
        self.residual, self.align_corners = residual, align_corners
        emitted = {"class_probability": class_probability, "aux_class_probability": aux_class_probability}
        self.emits = frozenset(name for name, wanted in emitted.items() if wanted)
        self.reduce = ConvNormAct(in_channels[-1], channels, kernel_size)
        self.connect = self.fuse = None
        if lateral:
            self.connect = nn.ModuleList(ConvNormAct(width, channels) for width in in_channels[-3:-1])
            self.fuse = ConvNormAct(3 * channels, channels, 3)
        self.project = ConvNormAct(channels, channels) if project else nn.Identity()
        self.encoding = Encoding(channels, codewords, aggregate=aggregate)
        self.gate = nn.Linear(channels, channels)
        self.channel_gates = AttentionTap()  # (B, C)
        self.presence = nn.Linear(channels, num_classes) if class_probability else None
        if class_probability:
            self.class_presence = AttentionTap()  # (B, K)
        self.aux = AuxPresence(in_channels, channels, codewords, num_classes) if aux_class_probability else None
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C', h, w) -> logits (B, K, h, w).

        Extras, if any: class_probability and aux_class_probability, each (B, K).
        """
        x = self.reduce(features[-1])  # (B, C, h, w)
        if self.connect is not None and self.fuse is not None:
            finer = [conv(one) for conv, one in zip(self.connect, features[-3:-1], strict=True)]
            sides = [resize(one, x.shape[-2:], self.align_corners) for one in finer]
            x = self.fuse(torch.cat([x, *sides], dim=1))
        encoded = self.encoding(self.project(x))  # (B, C)
        extras = {}
        with torch.autocast(x.device.type, enabled=False):  # half precision loses how images differ
            gates = self.channel_gates(self.gate(encoded).sigmoid())  # (B, C)
            if self.presence is not None:
                extras["class_probability"] = scores = self.presence(encoded)  # (B, K)
                self.class_presence(scores.sigmoid())
        weighed = x * gates[:, :, None, None].to(x.dtype)
        if self.residual:
            weighed = (x + weighed).relu()
        if self.aux is not None:
            extras["aux_class_probability"] = self.aux(features)
        return SegOutput(self.classifier(self.dropout(weighed)), extras)

    def inside(self, heard: Heard, size: tuple[int, int]) -> dict[str, Shown]:
        """Return sigmoid(W e) (C,), the codewords' shares of pixels (D, h, w) and the classes found (K,), if any."""
        shown = {
            "channel_gates": Shown(heard["channel_gates"][0][0]),
            "codewords": Shown(heard["encoding.assignment"][0][0].unflatten(1, size), takers="codewords"),
        }
        if self.presence is not None:
            shown["class_presence"] = Shown(heard["class_presence"][0][0], by_class=True)
        return shown


class AuxPresence(nn.Module):
    """Find the classes of an image in the last map but one; a single map is read itself."""

    def __init__(self, in_channels: Sequence[int], channels: int, codewords: int, num_classes: int):
        super().__init__()
        self.source = max(-2, -len(in_channels))
        self.reduce = ConvNormAct(in_channels[self.source], channels, 3)
        self.encoding = Encoding(channels, codewords)
        self.presence = nn.Linear(channels, num_classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Turn maps, one of them (B, C', h, w), into raw scores (B, K)."""
        encoded = self.encoding(self.reduce(features[self.source]))
        with torch.autocast(encoded.device.type, enabled=False):
            return self.presence(encoded)
