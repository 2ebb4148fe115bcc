"""Object context pooling: each pixel attends to the pixels of its part of the map, one grid of parts after another.

Source: Yuan, Wang: OCNet: Object Context Network for Scene Parsing (2018).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.layers.attention_tap import AttentionTap


class ObjectContext(nn.Module):
    """Compute c_u = W sum_v softmax_v(theta_u . theta_v / sqrt(C')) V_v within each part of a grid.

    parts           along each side of the grid; the last ones take the remainder, and a small map has fewer
    key_channels    C', of theta, which serves as query and key: 1x1 conv -> BN -> ReLU
    value_channels  of V
    """

    def __init__(self, channels: int, key_channels: int, value_channels: int, parts: int = 1):
        super().__init__()
        self.parts = parts
        self.theta = nn.Sequential(
            nn.Conv2d(channels, key_channels, 1), nn.BatchNorm2d(key_channels), nn.ReLU(inplace=True)
        )
        self.value = nn.Conv2d(channels, value_channels, 1)
        self.project = nn.Conv2d(value_channels, channels, 1)
        self.object = AttentionTap(levels=True)  # part by part (B, n, n), n pixels; rows sum to 1

    def forward(self, x: Tensor) -> Tensor:
        """Turn features (B, C, h, w) into their context (B, C, h, w)."""
        theta, value = self.theta(x), self.value(x)
        rows, columns = (edges(length, self.parts) for length in x.shape[-2:])
        grid = [torch.cat([self.attend(theta[..., i, j], value[..., i, j]) for j in columns], dim=-1) for i in rows]
        return self.project(torch.cat(grid, dim=-2))

    def attend(self, theta: Tensor, value: Tensor) -> Tensor:
        """Attend within one part: theta (B, C', a, b), value (B, C'', a, b) -> (B, C'', a, b)."""
        key, values = theta.flatten(2).mT, value.flatten(2).mT  # (B, ab, C'), (B, ab, C'')
        query = self.object.level(key)
        if self.object.recorded:
            scores = query @ key.mT * key.shape[-1] ** -0.5
            precision = torch.promote_types(key.dtype, torch.float32)
            weights = self.object(scores.softmax(-1, dtype=precision).to(key.dtype))  # (B, ab, ab)
            context = weights @ values
        else:
            q, k, v = (one.unsqueeze(1) for one in (query, key, values))  # (B, 1, ab, C' or C''): one head
            context = F.scaled_dot_product_attention(q, k, v).squeeze(1)  # (B, ab, C'')
        return context.mT.unflatten(-1, value.shape[-2:])


def edges(length: int, parts: int) -> list[slice]:
    """Cut a length into `parts` of equal size, or into as many as it has places; the last takes the remainder."""
    parts = min(parts, length)
    step = length // parts
    return [slice(i * step, length if i == parts - 1 else (i + 1) * step) for i in range(parts)]


def context_of(maps: list[Tensor], parts: int, point: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Return where the context of one pixel came from: maps (ab, ab) of all parts, in order -> weights (h, w)."""
    rows, columns = (edges(length, parts) for length in size)
    found = maps[0].new_zeros(size)
    for weights, (i, j) in zip(maps, ((i, j) for i in rows for j in columns), strict=True):
        if i.start <= point[0] < i.stop and j.start <= point[1] < j.stop:
            width = j.stop - j.start
            row = weights[(point[0] - i.start) * width + point[1] - j.start]
            found[i, j] = row.unflatten(0, (-1, width))
    return found
