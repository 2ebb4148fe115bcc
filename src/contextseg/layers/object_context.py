"""Object context pooling: each pixel attends to the pixels of its part of the map, one grid of parts after another.

Source: Yuan, Wang: OCNet: Object Context Network for Scene Parsing (2018).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contextseg.layers.attention import Attention, DotProduct, QueryKey, Size
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
        self.object = AttentionTap(levels=True)  # part by part `QueryKey` (B, n, C'), n pixels

    def forward(self, x: Tensor) -> Tensor:
        """Turn features (B, C, h, w) into their context (B, C, h, w)."""
        theta, value = self.theta(x), self.value(x)
        rows, columns = (edges(length, self.parts) for length in x.shape[-2:])
        grid = [torch.cat([self.attend(theta[..., i, j], value[..., i, j]) for j in columns], dim=-1) for i in rows]
        return self.project(torch.cat(grid, dim=-2))

    def attend(self, theta: Tensor, value: Tensor) -> Tensor:
        """Attend within one part: theta (B, C', a, b), value (B, C'', a, b) -> (B, C'', a, b)."""
        key, values = theta.flatten(2).mT, value.flatten(2).mT  # (B, ab, C'), (B, ab, C'')
        query = self.object.level(key) * key.shape[-1] ** -0.5
        context = self.object.attend(query, key, values)  # (B, ab, C'')
        return context.mT.unflatten(-1, value.shape[-2:])


def edges(length: int, parts: int) -> list[slice]:
    """Cut a length into `parts` of equal size, or into as many as it has places; the last takes the remainder."""
    parts = min(parts, length)
    step = length // parts
    return [slice(i * step, length if i == parts - 1 else (i + 1) * step) for i in range(parts)]


def shape(part: Tensor) -> Size:
    """Return height and width of a part."""
    return part.shape[0], part.shape[1]


class GridAttention(Attention):
    """Attention within each part of a grid alone: what was `heard` of the parts, in order; map of `size` (h, w)."""

    def __init__(self, heard: Sequence[QueryKey], parts: int, size: Size):
        super().__init__(size, size)
        numbers = torch.arange(size[0] * size[1]).unflatten(0, size)
        rows, columns = (edges(length, parts) for length in size)
        cut = [numbers[i, j] for i in rows for j in columns]
        self.parts = [
            (part.flatten(), DotProduct(pair.query[0], pair.key[0], shape(part), shape(part)))
            for part, pair in zip(cut, heard, strict=True)
        ]

    def rows(self, places: Tensor) -> Tensor:
        return self.of_parts(places, "rows")

    def columns(self, places: Tensor) -> Tensor:
        return self.of_parts(places, "columns")

    def of_parts(self, places: Tensor, which: str) -> Tensor:
        """Compute rows or columns of places int64 (n,), zero outside of their parts: (n, hw)."""
        found = self.parts[0][1].query.new_zeros(len(places), self.asked[0] * self.asked[1])
        for numbers, part in self.parts:
            mine, own = (places[:, None] == numbers).nonzero(as_tuple=True)
            if len(mine):
                found[mine[:, None], numbers] = getattr(part, which)(own)
        return found
