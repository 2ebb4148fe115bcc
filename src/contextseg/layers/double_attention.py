"""Double attention: gather the image into a few vectors, then distribute them to the pixels.

Source: Chen, Kalantidis, Li, Yan, Feng: A^2-Nets: Double Attention Networks (NeurIPS 2018), Section 3, Eq. 2-6.
"""

import torch
from torch import Tensor, nn

from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.region_attention import distribute_regions, gather_regions, soft_regions


class DoubleAttention(nn.Module):
    """Compute y_i = up(sum_k v_ik g_k),   g_k = sum_j b_kj down(x_j).

    The gather maps b are a softmax over the pixels j, the distribute vectors v one over the regions k. Both, like down
    and up, come from plain 1x1 convolutions. v sums to one, so up is applied to the few g_k instead of the pixels.
    Only v has a bias: the softmax over the pixels, and the batch norm that follows the block, cancel any other.
    """

    def __init__(self, channels: int, inner_channels: int, regions: int):
        super().__init__()
        self.down = nn.Conv2d(channels, inner_channels, 1, bias=False)
        self.gather_scores = nn.Conv2d(channels, regions, 1, bias=False)
        self.distribute_scores = nn.Conv2d(channels, regions, 1)
        self.up = nn.Conv2d(inner_channels, channels, 1, bias=False)
        self.gather = AttentionTap(levels=True)  # (B, regions, hw), rows sum to 1
        self.distribute = AttentionTap(levels=True)  # (B, hw, regions), rows sum to 1

    def forward(self, x: Tensor) -> Tensor:
        """Compute the context of features (B, C, h, w) -> (B, C, h, w)."""
        gather = self.gather(soft_regions(self.gather.level(self.gather_scores(x))))  # (B, regions, hw)
        vectors = gather_regions(gather, self.down(x))  # (B, C', regions)
        scores = self.distribute.level(self.distribute_scores(x)).flatten(2).mT  # (B, hw, regions)
        distribute = self.distribute(scores.softmax(-1, dtype=torch.float32).to(scores.dtype))  # (B, hw, regions)
        value = self.up(vectors.unsqueeze(-1)).flatten(2)  # (B, C, regions)
        return distribute_regions(distribute, value, x)  # (B, C, h, w)
