"""CPNet head: a supervised prior says which pixels share a class; context comes from those and from all others.

Source: Yu, Wang, Gao, Yu, Shen, Sang: Context Prior for Scene Segmentation (CVPR 2020), Sections 3.2 to 3.4; the loss
term `affinity` (Section 3.1) supervises the prior.

Where the paper is silent: contexts are means, not sums (`normalise`); a 1x1 conv brings C0 to C1 (`entry`); X is the
backbone's last map, concatenated unchanged; the "last convolution" is one 1x1 conv (`fuse`). PPM or ASPP, where chosen,
replaces the aggregation module: the prior is computed from its result, and sums it up.

The rows without a prior (Tables 1 to 3) keep the N x N map as an attention mask without supervision (Section 4.2,
Figure 6a): `contexts="intra"` and a loss without the affinity term. Those of PPM and ASPP are the heads `psp` and
`deeplabv3`, whose numbers in Tables 1 and 3 agree. The options after `normalise` are further layers of the released
code: `conf/head/cpnet_official.yaml`.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from contextseg.contract import Head, Heard, SegOutput
from contextseg.errors import ConfigError
from contextseg.layers.aggregation import AggregationModule
from contextseg.layers.aspp import ASPP
from contextseg.layers.attention import Attention, Dense, Rest
from contextseg.layers.context_prior import ContextPrior
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.pyramid_pooling import PyramidPooling
from contextseg.typed import Count, Share


class CPNetHead(Head):
    """Aggregate context inside and outside each pixel's class by a context prior.

    crop_size    height and width in pixels of the training crop, to which the prior is tied: the head takes no other
                 image size, so prediction uses windows of it (`window`); the default is ADE20K's
    stride       of the last feature map
    channels     C1, the width of X~ and of each context
    aggregation  makes X~ of X: "am" (the aggregation module), "ppm" or "aspp"
    kernel_size  of the aggregation module, odd
    contexts     "both", "intra" or "inter"
    normalise    contexts are means over the N pixels, not sums
    entry        kernel size of the first convolution of the aggregation module; released: 3
    bias         of the depth-wise convolutions in the aggregation module; released: true
    project      a 1x1 conv -> BN -> ReLU on each context; released: true
    fuse         kernel size of one more conv -> BN -> ReLU to C1, before the classifier; null: none; released: 3
    dropout      of whole channels, before the classifier; released: 0.1
    align_corners  of the resizes in "ppm"
    """

    can_emit = emits = frozenset({"prior_logits"})
    can_be_local = True
    window: tuple[int, int]
    aggregation: nn.Module

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        crop_size: tuple[Count, Count] = (480, 480),
        stride: Count = 8,
        channels: Count = 512,
        aggregation: Literal["am", "ppm", "aspp"] = "am",
        kernel_size: Count = 11,
        contexts: Literal["both", "intra", "inter"] = "both",
        normalise: bool = True,
        entry: Count = 1,
        bias: bool = False,
        project: bool = False,
        fuse: Count | None = None,
        dropout: Share = 0.0,
        align_corners: bool = False,
    ):
        super().__init__()
        height, width = crop_size
        self.window = height, width
        self.size = -(-height // stride), -(-width // stride)  # (h, w), rounded up
        width = in_channels[-1]
        if aggregation == "am":
            self.aggregation = AggregationModule(width, channels, kernel_size=kernel_size, entry=entry, bias=bias)
        elif aggregation == "ppm":
            self.aggregation = PyramidPooling(width, channels, align_corners=align_corners)
        elif aggregation == "aspp":
            self.aggregation = ASPP(width, channels, branch_channels=channels // 2)
        else:
            raise ConfigError(f"head.aggregation={aggregation}: choose am, ppm or aspp")
        self.context_prior = ContextPrior(channels, self.size, contexts=contexts, normalise=normalise, project=project)
        width += len(self.context_prior.contexts) * channels
        self.fuse = nn.Identity() if fuse is None else ConvNormAct(width, channels, fuse)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width if fuse is None else channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C0, h, w) of the crop -> logits (B, K, h, w); extras: prior_logits (B, hw, hw).

        Raises `ValueError` for a map of another size.
        """
        x = features[-1]
        if tuple(x.shape[-2:]) != self.size:
            raise ValueError(
                f"CPNet's prior is tied to maps of {self.size[0]}x{self.size[1]} (crop {self.window[0]}x"
                f"{self.window[1]}), got {x.shape[-2]}x{x.shape[-1]}; predict in windows: "
                f"SlidingWindow({list(self.window)}, pad=True), as Segmenter.predict does"
            )
        contexts, prior = self.context_prior(self.aggregation(x), self.local_side)
        representation = self.fuse(torch.cat([x, *contexts], dim=1))
        return SegOutput(self.classifier(self.dropout(representation)), {"prior_logits": prior})

    def attends(self, heard: Heard, size: tuple[int, int]) -> dict[str, Attention]:
        """Return the prior, "intra", and one minus it, "inter", of the contexts in use; rows do not sum to 1."""
        prior = Dense(heard["context_prior.prior"][0][0], size, size)
        return {name: {"intra": prior, "inter": Rest(prior)}[name] for name in self.context_prior.contexts}
