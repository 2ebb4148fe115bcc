"""CCNet head for clips: recurrent 3-D criss-cross attention, which reaches all frames in three loops.

Source: CCNet (Huang et al.: CCNet: Criss-Cross Attention for Semantic Segmentation, TPAMI), Sections 3.5 and 4.7,
Table 9. The maps of all frames -> conv -> H (B, C', T, h, w) -> R loops with shared weights -> H'' -> of the labelled
frame: concat(H'', X) -> conv -> classifier.

Where the paper is silent: both convolutions are the 3x3 conv -> BN -> ReLU of `head=ccnet`, the first on each frame
alone; the labelled frame is the middle one, and only its H'' is classified; there is no branch for the
category-consistent loss, of which Section 4.7 says nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contextseg.contract import Head, Heard, SegOutput
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.criss_cross_3d import CrissCrossAttention3d, compose
from contextseg.typed import Count


class CCNet3DHead(Head):
    """Aggregate context over the frames of a clip by recurrent 3-D criss-cross attention.

    frames        T of a clip; an image alone stands for all of them. The paper: 5, and 1
    channels      width of H, H' and H''
    key_channels  width of Q and K; null: an eighth of `channels`
    recurrence    R, the number of loops; 3 reach every position
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        frames: Count = 5,
        channels: Count = 512,
        key_channels: Count | None = None,
        recurrence: Count = 3,
    ):
        super().__init__()
        self.frames, self.recurrence = frames, recurrence
        self.reduce = ConvNormAct(in_channels[-1], channels, 3)
        self.attention = CrissCrossAttention3d(channels, key_channels)
        self.fuse = ConvNormAct(channels + in_channels[-1], channels, 3)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps of clips, the last (B T, C, h, w) -> logits (B, K, h, w) of the middle frames; no extras."""
        x = features[-1]
        h = self.reduce(x).unflatten(0, (-1, self.frames)).movedim(1, 2)  # (B, C', T, h, w)
        for _ in range(self.recurrence):
            h = self.attention(h)
        (x,) = self.labelled([x])  # (B, C, h, w)
        fused = self.fuse(torch.cat([h[:, :, self.frames // 2], x], dim=1))  # (B, C', h, w)
        return SegOutput(self.classifier(fused), {})

    def context(self, heard: Heard, point: tuple[int, int], size: tuple[int, int]) -> dict[str, Tensor]:
        """Return all loops composed, a map for each frame (T, h, w)."""
        loops = [loop[0] for loop in heard["attention.criss_cross"]]  # (T, h, w, T + h + w)
        return {"context": compose(loops, (self.frames // 2, *point))}
