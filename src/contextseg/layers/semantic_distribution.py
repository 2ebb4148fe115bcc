"""Semantic distribution: each pixel of a map takes its share of the semantic descriptors.

Source: AGLN (Li et al.: Attention Guided Global Enhancement and Local Refinement Network for Semantic Segmentation),
Section III-A.2, Eq. 2.
"""

import torch
from torch import Tensor, nn

from contextseg.layers.attention_tap import AttentionTap


class SemanticDistribution(nn.Module):
    """Compute M = D A_av (Eq. 2), where A_av is a softmax over the N descriptors of a 1x1 convolution of A.

    One descriptor goes to every pixel alike, so for N = 1 there is no convolution: a softmax over one entry has no
    gradient. `output_conv` adds a 1x1 convolution of M (released code). It is linear, and the shares of a pixel sum to
    one, so it is applied to the N descriptors instead, the same number for less work.
    """

    def __init__(self, channels: int, num_descriptors: int = 128, *, output_conv: bool = False):
        super().__init__()
        self.scores = nn.Conv2d(channels, num_descriptors, 1) if num_descriptors > 1 else None
        self.output = nn.Conv2d(channels, channels, 1) if output_conv else nn.Identity()
        self.distribute = AttentionTap(levels=True)  # (B, N, h, w), sums to 1 over N

    def forward(self, x: Tensor, descriptors: Tensor) -> Tensor:
        """Distribute descriptors D (B, C, N) to decoder map A (B, C, h, w) -> descriptor map M (B, C, h, w)."""
        if self.scores is None:
            shares = torch.ones_like(x[:, :1])  # (B, 1, h, w)
        else:
            scores = self.distribute.level(self.scores(x))  # (B, N, h, w)
            shares = scores.softmax(1, dtype=torch.float32).to(scores.dtype)
        descriptors = self.output(descriptors.unsqueeze(-1)).squeeze(-1)  # (B, C, N)
        return (descriptors @ self.distribute(shares).flatten(2)).unflatten(-1, x.shape[-2:])
