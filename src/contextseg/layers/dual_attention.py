"""Dual attention: between all pairs of pixels, and between all pairs of channels.

Source: Fu et al.: Dual Attention Network for Scene Segmentation (CVPR 2019), Sections 3.2 and 3.3.
"""

import torch
from torch import Tensor, nn

from contextseg.layers.attention_tap import AttentionTap


class PositionAttention(nn.Module):
    """Compute x_i + gamma * sum_j softmax_j(q_i^T k_j) v_j  (Eq. 1 and 2); gamma starts at zero.

    The hw x hw map is not made where the device can do without, nor while the tap is heard.
    """

    def __init__(self, channels: int, key_channels: int):
        super().__init__()
        self.query = nn.Conv2d(channels, key_channels, 1)
        self.key = nn.Conv2d(channels, key_channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))
        self.position = AttentionTap(levels=True)  # `QueryKey` (B, hw, C'), row = pixel, column = where from

    def forward(self, x: Tensor) -> Tensor:
        """Add to each pixel what it attends to: (B, C, h, w) -> (B, C, h, w)."""
        query, key, value = (f(x).flatten(2).mT for f in (self.query, self.key, self.value))  # (B, hw, C' or C)
        query = self.position.level(query)
        context = self.position.attend(query, key, value)  # (B, hw, C)
        return x + self.gamma * context.mT.unflatten(-1, x.shape[-2:])  # (B, C, h, w)


class ChannelAttention(nn.Module):
    """Compute x_c + beta * sum_d softmax_d(-x_c^T x_d) x_d  (Eq. 3 and 4); beta starts at zero.

    The minus is that of the released code: a channel takes from those unlike it. The paper prints none, which makes
    the map nearly the identity. Inner products over hw pixels are large, hence always float32.
    """

    def __init__(self):
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1))
        self.channel = AttentionTap(levels=True)  # (B, C, C), rows sum to 1

    def forward(self, x: Tensor) -> Tensor:
        """Add to each channel what it attends to: (B, C, h, w) -> (B, C, h, w)."""
        flat = x.flatten(2)  # (B, C, hw)
        with torch.autocast(x.device.type, enabled=False):
            product = flat.float() @ flat.float().mT  # (B, C, C)
        attention = self.channel(self.channel.level(-product).softmax(-1).to(x.dtype))  # (B, C, C)
        return x + self.beta * (attention @ flat).unflatten(-1, x.shape[-2:])  # (B, C, h, w)
