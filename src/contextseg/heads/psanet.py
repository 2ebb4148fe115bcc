"""PSANet head: attention predicted from the pixel alone, by relative position; each pixel collects and distributes.

Source: Zhao et al.: PSANet: Point-wise Spatial Attention Network for Scene Parsing (ECCV 2018), Section 3. In each of
two branches, X -> 1x1 -> features of 512 channels -> 1x1 -> 1x1 -> one "over-complete" map per pixel, a weight for
every offset of (2n - 1) x (2n - 1). Pixel i reads its weight for pixel j at offset j - i in i's own map (collect), and
at offset i - j in j's map (distribute). Both results are concatenated, projected, and fused with X.

The number of offsets is that of parameters, hence fixed: `grid` n is the largest side on which attention is computed.
A smaller map uses the offsets that it has; a larger one is shrunk to n and its context enlarged again. So any image
size will do. The released code always halves, which is n = 30 at its crop of 473, the default here. The weights of a
receiving pixel go through a softmax over its sources, as in the released code.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from contextseg.contract import Head, Heard, SegOutput
from contextseg.layers.attention import Attention, Dense
from contextseg.layers.attention_tap import AttentionTap
from contextseg.layers.conv import ConvNormAct
from contextseg.layers.resize import resize
from contextseg.typed import Count, Share


class PSANetHead(Head):
    """Aggregate context by point-wise spatial attention in both directions.

    channels  width of the values in each branch, and of the last convolution
    grid      n, the largest side at which attention is computed: (2n - 1)^2 offsets
    dropout   of whole channels, before the classifier
    align_corners  of the resizes to the grid and back
    """

    can_be_local = True

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        *,
        channels: Count = 512,
        grid: Count = 30,
        dropout: Share = 0.1,
        align_corners: bool = False,
    ):
        super().__init__()
        self.grid, self.align_corners = grid, align_corners
        self.collect = PointwiseAttention(in_channels[-1], channels, grid, distribute=False)
        self.distribute = PointwiseAttention(in_channels[-1], channels, grid, distribute=True)
        self.project = ConvNormAct(2 * channels, in_channels[-1])
        self.fuse = ConvNormAct(2 * in_channels[-1], channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> SegOutput:
        """Segment maps, the last (B, C, h, w) -> logits (B, K, h, w); no extras."""
        x = features[-1]
        size = x.shape[-2:]
        fewer = [min(side, self.grid) for side in size]
        small = resize(x, fewer, self.align_corners)  # (B, C, h', w'), sides at most n
        context = torch.cat(
            [self.within(self.collect, small), self.within(self.distribute, small)], dim=1
        )  # (B, 2C', h', w')
        context = resize(self.project(context), size, self.align_corners)  # (B, C, h, w)
        fused = self.fuse(torch.cat([context, x], dim=1))  # (B, C', h, w)
        return SegOutput(self.classifier(self.dropout(fused)), {})

    def attends(self, heard: Heard, size: tuple[int, int]) -> dict[str, Attention]:
        """Return the attention of each branch, between the places of the grid, whose sides are at most `grid`."""
        small = min(size[0], self.grid), min(size[1], self.grid)
        return {name: Dense(heard[f"{name}.pointwise"][0][0], small, small) for name in ("collect", "distribute")}


class PointwiseAttention(nn.Module):
    """Compute one branch: z_i = sum_j a_ij v_j, with a_ij from pixel i (collect) or from pixel j (distribute)."""

    def __init__(self, in_channels: int, channels: int, grid: int, *, distribute: bool):
        super().__init__()
        self.grid, self.distribute = grid, distribute
        self.reduce = ConvNormAct(in_channels, channels)
        self.offsets = nn.Sequential(
            ConvNormAct(channels, channels), nn.Conv2d(channels, (2 * grid - 1) ** 2, 1, bias=False)
        )
        self.pointwise = AttentionTap(levels=True)  # (B, hw, hw), row = receiving pixel, column = source; rows sum to 1

    def forward(self, x: Tensor) -> Tensor:
        """Compute the context of features (B, C, h, w), sides at most `grid` -> (B, C', h, w)."""
        values = self.reduce(x)  # (B, C', h, w)
        scores = self.offsets(values).flatten(2)  # (B, offsets, hw)
        height, width = x.shape[-2:]
        index = offset_index(height, width, self.grid, x.device)  # (hw, hw): offset from row to column
        scores = scores.mT.gather(2, index.expand(len(x), -1, -1))  # (B, hw, hw), row = the pixel that predicts
        if self.distribute:
            scores = scores.mT  # row = the pixel that receives
        scores = self.pointwise.level(scores)
        weights = scores.softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)
        context = self.pointwise(weights) @ values.flatten(2).mT  # (B, hw, C')
        return context.mT.unflatten(-1, x.shape[-2:])  # (B, C', h, w)


def offset_index(height: int, width: int, grid: int, device: torch.device) -> Tensor:
    """Return the index of the offset from pixel p to q in a flat (2 grid - 1)^2 map: int64 (hw, hw), [p, q]."""
    rows = torch.arange(height, device=device)
    columns = torch.arange(width, device=device)
    down = rows - rows[:, None] + grid - 1  # (h, h), [from, to]
    right = columns - columns[:, None] + grid - 1  # (w, w)
    index = down[:, None, :, None] * (2 * grid - 1) + right[None, :, None, :]  # (h, w, h, w)
    return index.flatten(2).flatten(0, 1)  # (hw, hw)
