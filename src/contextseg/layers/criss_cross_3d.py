"""3-D criss-cross attention: each position of a clip attends along time, column and row; three passes reach all.

Source: CCNet (Huang et al.: CCNet: Criss-Cross Attention for Semantic Segmentation, TPAMI), Section 3.5, Eq. 9-10.

An attention map here is a tensor (B, T, h, w, T + h + w): at position (t, i, j), the first T entries are the weights of
the same pixel in all frames, the next h those of column j, the last w those of row i of its frame. The position itself
is counted once, in the row part (slot T + h + j); its slots in the other two parts (t and T + i) are zero, so that
T + h + w - 2 weights are left.

The released code has a branch for this (github.com/speedinghzl/CCNet, pure Python, used by no network). It differs from
the paper by two errors, which are not repeated: it excludes the position itself from its column only, so that time and
row both count it, and it reads the products along the width with two axes swapped.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.criss_cross_recomputed import RecomputedCrissCross

AXES = (-4, -3, -2)  # time, column and row of a tensor (..., T, h, w, n)


class CrissCrossAttention3d(nn.Module):
    """Attend along time, column and row: H'_u = sum_i A_iu Phi_iu + H_u (Eq. 10).

    A is the softmax over the three of Q_u . K_i (Eq. 9), without scaling. Q and K go to `key_channels` (None: C / 8, as
    in two dimensions), V keeps C. The weights of a position sum to one, so V's convolution commutes with the weighted
    sum and is applied after it. Convolutions of 1x1x1 are those of 1x1 on frames, with the weights of the block in two
    dimensions.
    """

    def __init__(self, channels: int, key_channels: int | None = None):
        super().__init__()
        key_channels = key_channels or max(channels // 8, 1)
        self.query = nn.Conv2d(channels, key_channels, 1)
        self.key = nn.Conv2d(channels, key_channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.criss_cross = AttentionTap(levels=True)  # (B, T, h, w, T + h + w), sums to 1

    def forward(self, x: Tensor) -> Tensor:
        """Add to each position the context of its three lines: features (B, C, T, h, w) -> (B, C, T, h, w)."""
        flat = x.flatten(3)  # (B, C, T, h w)
        query, key = (conv(flat).unflatten(3, x.shape[3:]).movedim(1, -1) for conv in (self.query, self.key))
        query = self.criss_cross.level(query)  # (B, T, h, w, C'), as the key
        values = x.movedim(1, -1).to(query.dtype)  # (B, T, h, w, C)
        if self.criss_cross.can_be_left_out(x):
            weight, bias = self.value.weight.flatten(1), self.value.bias
            return RecomputedCrissCross.apply(values.contiguous(), query, key, weight, bias, AXES).movedim(-1, 1)
        weights = self.criss_cross(attention_map(query, key))  # (B, T, h, w, T + h + w)
        context = aggregate(weights, values)  # (B, T, h, w, C)
        return x + self.value(context.movedim(-1, 1).flatten(3)).unflatten(3, x.shape[3:])


def attention_map(query: Tensor, key: Tensor) -> Tensor:
    """Compute the softmax of products along the lines: query, key (B, T, h, w, C') -> (B, T, h, w, T + h + w)."""
    scores = []
    for axis in AXES:
        line = query.movedim(axis, -2) @ key.movedim(axis, -2).mT  # (B, the other two, n, n)
        if axis != AXES[-1]:
            line.diagonal(dim1=-2, dim2=-1).fill_(-torch.inf)  # the position itself is counted in its row
        scores.append(line.movedim(-2, axis))  # (B, T, h, w, n)
    precision = torch.promote_types(query.dtype, torch.float32)
    return torch.cat(scores, -1).softmax(-1, dtype=precision).to(query.dtype)


def aggregate(weights: Tensor, values: Tensor) -> Tensor:
    """Sum along the lines: attention map (B, T, h, w, T + h + w), values (B, T, h, w, C) -> (B, T, h, w, C)."""
    sums = [(part.movedim(axis, -2) @ values.movedim(axis, -2)).movedim(-2, axis) for axis, part in by_axis(weights)]
    return sums[0] + sums[1] + sums[2]


def by_axis(weights: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Split an attention map (..., T, h, w, T + h + w) into its three parts (..., T, h, w, n), each with its axis."""
    return zip(AXES, weights.split(weights.shape[-4:-1], dim=-1), strict=True)


def compose(maps: Sequence[Tensor], place: tuple[int, int, int]) -> Tensor:
    """Compute where the context of one position came from, over all loops.

    `maps` of the loops in order, each (..., T, h, w, T + h + w), and a place (frame, row, column) of theirs -> weights
    (..., T, h, w) that sum to one: its row in the product A_R ... A_1 of the loops' attention matrices, as
    `criss_cross.compose` in two dimensions.
    """
    reach = torch.zeros_like(maps[0][..., 0])
    reach[(..., *place)] = 1
    for weights in reversed(maps):
        flow = [
            (reach[..., None] * part).sum(axis, keepdim=True).transpose(axis, -1) for axis, part in by_axis(weights)
        ]
        reach = (flow[0] + flow[1] + flow[2])[..., 0]
    return reach  # (..., T, h, w)
