"""Non-local block: each pixel attends to all pixels.

Source: Wang et al.: Non-local Neural Networks (CVPR 2018), in the form that CCNet counts in Table 5: Q and K at C / 8,
V at C, no scaling, no projection of the sum. It is the dense counterpart of criss-cross attention.
"""

import torch
from torch import Tensor, nn

from contextseg.layers.attention_tap import AttentionTap


class NonLocal(nn.Module):
    """Compute y_u = sum_v softmax_v(Q_u . K_v) V_v + x_u, over all pixels v.

    `gate` multiplies the sum by a learnt scalar that starts at 0. The weights of a pixel sum to one, so V's convolution
    is applied after the weighted sum: the same number, without a copy of V.
    """

    def __init__(self, channels: int, key_channels: int | None = None, *, gate: bool = False):
        super().__init__()
        key_channels = key_channels or max(channels // 8, 1)
        self.query = nn.Conv2d(channels, key_channels, 1)
        self.key = nn.Conv2d(channels, key_channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Parameter(torch.zeros(1)) if gate else None
        self.non_local = AttentionTap(levels=True)  # `QueryKey` (B, hw, C'), row = pixel, column = where from

    def forward(self, x: Tensor) -> Tensor:
        """Add to each pixel the context of the whole map: features (B, C, h, w) -> (B, C, h, w)."""
        query = self.non_local.level(self.query(x)).flatten(2).mT  # (B, hw, C')
        key = self.key(x).flatten(2).mT  # (B, hw, C')
        values = x.flatten(2).mT.to(query.dtype)  # (B, hw, C)
        context = self.non_local.attend(query, key, values)  # (B, hw, C)
        context = self.value(context.mT.unflatten(-1, x.shape[-2:]))  # (B, C, h, w)
        return x + (context if self.gate is None else self.gate * context)
