"""Criss-cross attention: each pixel attends to its column and its row; after two passes it has seen the whole map.

Source: CCNet (Huang et al.: CCNet: Criss-Cross Attention for Semantic Segmentation, TPAMI), Sections 3.2-3.3, Eq. 1-2.

An attention map here is a tensor (B, h, w, h + w): at pixel (i, j), the first h entries are the weights of column j,
the last w those of row i. The pixel itself is counted once, in the row part (slot h + j); its slot in the column part
(slot i) is zero. The path "horizontal" sets the whole column part to zero, "vertical" the row part (then the pixel
itself is counted in the column part).
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contextseg.layers.attention import Attention, precise
from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.criss_cross_recomputed import RecomputedCrissCross

Path = Literal["criss_cross", "horizontal", "vertical"]
AXES = {"criss_cross": (-3, -2), "horizontal": (-2,), "vertical": (-3,)}  # of (B, h, w, C): column and row


class CrissCrossAttention(nn.Module):
    """Attend along row and column: H'_u = sum_i A_iu Phi_iu + H_u (Eq. 2).

    A is the softmax over row and column of Q_u . K_i (Eq. 1), without scaling. Q and K go to `key_channels` (the paper:
    less than C; its GFLOPs imply C / 8), V keeps C. Released code: `gate`, a learnt scalar that starts at 0, multiplies
    the sum. The weights of a pixel sum to one, so V's convolution commutes with the weighted sum and is applied after
    it: the same number, without a copy of V.
    """

    def __init__(self, channels: int, key_channels: int | None = None, *, gate: bool = False):
        super().__init__()
        key_channels = key_channels or max(channels // 8, 1)
        self.query = nn.Conv2d(channels, key_channels, 1)
        self.key = nn.Conv2d(channels, key_channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Parameter(torch.zeros(1)) if gate else None
        # (B, h, w, h + w), rows sum to 1, the pixel's own slot in the column is 0
        self.criss_cross = AttentionTap(levels=True)

    def forward(self, x: Tensor, path: Path = "criss_cross") -> Tensor:
        """Add to each pixel the context of its `path`: features (B, C, h, w) -> (B, C, h, w)."""
        x = x.contiguous(memory_format=torch.channels_last)  # rows and columns are then both views
        if self.criss_cross.can_be_left_out(x):
            return self.recomputed(x, path)
        query = self.criss_cross.level(self.query(x)).permute(0, 2, 3, 1)  # (B, h, w, C')
        key = self.key(x).permute(0, 2, 3, 1)  # (B, h, w, C')
        values = x.permute(0, 2, 3, 1).to(query.dtype)  # (B, h, w, C)
        weights = self.criss_cross(attention_map(query, key, path))  # (B, h, w, h + w)
        context = aggregate(weights, values)  # (B, h, w, C)
        context = self.value(context.permute(0, 3, 1, 2))  # (B, C, h, w)
        return x + (context if self.gate is None else self.gate * context)

    def recomputed(self, x: Tensor, path: Path) -> Tensor:
        """Compute the same for training, and keep no map: channels last (B, C, h, w) -> (B, C, h, w)."""
        values = x.permute(0, 2, 3, 1)  # (B, h, w, C)
        query, key = (F.linear(values, conv.weight.flatten(1), conv.bias) for conv in (self.query, self.key))
        weight, bias = (p if self.gate is None else self.gate * p for p in self.value.parameters())
        y = RecomputedCrissCross.apply(values, self.criss_cross.level(query), key, weight.flatten(1), bias, AXES[path])
        return y.permute(0, 3, 1, 2)


def attention_map(query: Tensor, key: Tensor, path: Path = "criss_cross") -> Tensor:
    """Compute the softmax of products along the path: query, key (B, h, w, C') -> attention map (B, h, w, h + w)."""
    column = query.transpose(1, 2) @ key.permute(0, 2, 3, 1)  # (B, w, h, h)
    column = column.transpose(1, 2)  # (B, h, w, h)
    row = query @ key.mT  # (B, h, w, w)
    if path == "criss_cross":
        column.diagonal(dim1=1, dim2=3).fill_(-torch.inf)  # the pixel itself is counted in its row
    elif path == "horizontal":
        column.fill_(-torch.inf)
    else:
        row.fill_(-torch.inf)
    precision = torch.promote_types(query.dtype, torch.float32)
    return torch.cat([column, row], -1).softmax(-1, dtype=precision).to(query.dtype)


def aggregate(weights: Tensor, values: Tensor) -> Tensor:
    """Sum over column and row: attention map (B, h, w, h + w), values (B, h, w, C) -> (B, h, w, C)."""
    column, row = weights.split(values.shape[1:3], dim=-1)
    vertical = column.transpose(1, 2) @ values.transpose(1, 2)  # (B, w, h, C)
    return (row @ values).add_(vertical.transpose(1, 2))  # (B, h, w, C)


class CrissCross(Attention):
    """The matrix of an attention map (h, w, h + w): a place takes from its column and its row alone."""

    def __init__(self, weights: Tensor):
        height, width, _ = weights.shape
        super().__init__((height, width), (height, width))
        column, row = precise(weights).split((height, width), dim=-1)
        self.down = column.transpose(0, 1).contiguous()  # (w, h, h): column, row that takes, row from which
        self.along = row.contiguous()  # (h, w, w): row, column that takes, column from which

    def rows(self, places: Tensor) -> Tensor:
        index, row, column = self.split(places)
        found = self.down.new_zeros(len(places), *self.asked)
        found[index, :, column] += self.down[column, row]
        found[index, row] += self.along[row, column]
        return found.flatten(1)

    def columns(self, places: Tensor) -> Tensor:
        index, row, column = self.split(places)
        found = self.down.new_zeros(len(places), *self.asking)
        found[index, :, column] += self.down[column, :, row]
        found[index, row] += self.along[row, :, column]
        return found.flatten(1)

    def split(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Number places int64 (n,), and return their rows and columns."""
        return torch.arange(len(places)), places // self.asked[1], places % self.asked[1]

    def pull(self, weights: Tensor) -> Tensor:
        return self.through(weights, self.down, self.along)

    def push(self, values: Tensor) -> Tensor:
        return self.through(values, self.down.mT, self.along.mT)

    def through(self, given: Tensor, down: Tensor, along: Tensor) -> Tensor:
        """Multiply numbers (n, hw) with the matrices of all columns (w, h, h) and of all rows (h, w, w): (n, hw)."""
        reach = given.unflatten(-1, self.asked)  # (n, h, w)
        if len(reach) == 1:  # many small products would each wait for all threads
            vertical = (reach[0].mT[..., None] * down).sum(1).mT  # (h, w)
            return (vertical + (reach[0][..., None] * along).sum(1)).flatten()[None]
        vertical = (reach.permute(2, 0, 1) @ down).permute(1, 2, 0)  # (n, h, w)
        horizontal = (reach.transpose(0, 1) @ along).transpose(0, 1)
        return (vertical + horizontal).flatten(1)
