"""Edge loss: whether a pixel lies where the labels change.

Source: Ruan et al.: Devil in the Details: Towards Accurate Single and Multiple Human Parsing (CE2P, AAAI 2019);
edges and balance are those of its code (github.com/liutinglt/CE2P), but for void, which counts there as no edge.
"""

from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional as F

from contextseg.contract import IGNORE_INDEX, LossTerm, SegOutput, read
from contextseg.errors import ConfigError
from contextseg.losses import functional
from contextseg.typed import NonNegative

# (rows, columns) from a pixel to the neighbour that it is compared with; the pixel itself is marked
NEIGHBOURS = ((-1, 0), (0, 1), (1, 1), (1, -1))


def edges(mask: Tensor, width: int = 3) -> Tensor:
    """Mark pixels that differ from the one above, to the right, below right or below left, and `width` around them.

    Labels uint8 (B, H, W), 255 void -> uint8 (B, H, W): 1 edge, 0 none, 255 void. Void has no edge.
    """
    height, across = mask.shape[-2:]
    found = torch.zeros_like(mask, dtype=torch.float32)
    for down, right in NEIGHBOURS:
        here = (..., slice(max(-down, 0), height - max(down, 0)), slice(max(-right, 0), across - max(right, 0)))
        there = (..., slice(max(down, 0), height + min(down, 0)), slice(max(right, 0), across + min(right, 0)))
        one, other = mask[here], mask[there]
        found[here] += (one != other) & (one != IGNORE_INDEX) & (other != IGNORE_INDEX)
    wide = F.max_pool2d(found.clamp(max=1)[:, None], width, stride=1, padding=width // 2)[:, 0]
    return wide.to(torch.uint8).where(mask != IGNORE_INDEX, IGNORE_INDEX)


class Edge(LossTerm):
    """Compute the cross-entropy of `edges`, which weigh as much as all other pixels together.

    An edge weighs the share of the others, another pixel that of the edges, by the valid pixels of the batch on one
    device. A batch without edges gives 0.

    weight         factor of the term in the sum
    width          of an edge in pixels, odd
    label_stride   every s-th pixel counts
    align_corners  how the scores are resized
    """

    reads = "edge_logits"

    def __init__(
        self,
        *,
        weight: NonNegative = 1.0,
        width: Annotated[int, Ge(1), Le(99)] = 3,
        label_stride: Annotated[int, Ge(1), Le(32)] = 1,
        align_corners: bool = False,
    ):
        super().__init__(weight)
        if width % 2 == 0:
            raise ConfigError(f"loss.term.edge.width={width}: give an odd number, such as {width + 1}")
        self.width, self.label_stride, self.align_corners = width, label_stride, align_corners

    def forward(self, output: SegOutput, mask: Tensor) -> Tensor:
        """Compute the term: output with edge_logits (B, 2, h, w), and mask uint8 (B, H, W) -> scalar."""
        target = functional.labels_at(edges(mask, self.width), self.label_stride)
        counts = torch.stack([(target == 0).sum(), (target == 1).sum()]).float()
        weights = counts.flip(0) / counts.sum().clamp(min=1)  # of no edge, of an edge
        logits = read(output, self.reads)
        return functional.cross_entropy(logits, target, weights, align_corners=self.align_corners)
