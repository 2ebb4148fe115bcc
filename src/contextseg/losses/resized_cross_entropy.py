"""Cross-entropy of up-sampled logits without the up-sampled map, which for 150 classes is the largest tensor of a step.

Bilinear resizing is linear in rows and in columns, so a strip of a few output rows is a product of the logits with two
thin matrices. Loss and gradient of a strip are computed together while it lies in the cache, and what stays for the
backward pass is the gradient at the size of the logits.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from contextseg.contract import IGNORE_INDEX
from contextseg.layers.resize import resize

STRIP = {"cpu": 2**18}  # numbers in a strip: what fits into the cache of a core
LARGE_STRIP = 2**24  # of other devices, whose time goes into starting a kernel


def resized_cross_entropy(logits: Tensor, target: Tensor, weights: Tensor, align_corners: bool = False) -> Tensor:
    """Compute the sum over pixels of weight x cross-entropy of the resized logits; differentiable once, in the logits.

    Logits (B, K, h, w), target int64 (B, H, W), 255 ignored whatever its weight, weights (B, H, W) -> float32 scalar.
    """
    if logits.shape[-2:] == target.shape[-2:]:
        return (F.cross_entropy(logits.float(), target, ignore_index=IGNORE_INDEX, reduction="none") * weights).sum()
    valid = target != IGNORE_INDEX
    target, weights = target.where(valid, 0), weights.detach().float() * valid
    return WeightedSum.apply(logits, target, weights, align_corners)


@torch.no_grad()
def pixel_losses(logits: Tensor, target: Tensor, align_corners: bool = False) -> Tensor:
    """Compute the cross-entropy of each pixel of the resized logits, without gradient.

    Logits (B, K, h, w), target int64 (B, H, W), 255 ignored -> float32 (B, H, W), 0 where ignored.
    """
    if logits.shape[-2:] == target.shape[-2:]:
        return F.cross_entropy(logits.float(), target, ignore_index=IGNORE_INDEX, reduction="none")
    valid = target != IGNORE_INDEX
    labels = target.where(valid, 0)
    losses = torch.zeros(target.shape, device=logits.device)
    with torch.autocast(logits.device.type, enabled=False):
        for strip in strips(logits, target.shape[1:], align_corners):
            of_label = strip.scores.gather(2, labels[:, strip.rows, None])  # (B, R, 1, W)
            losses[:, strip.rows] = (strip.scores.logsumexp(2, keepdim=True) - of_label)[:, :, 0]
    return losses * valid


class Strip(NamedTuple):
    """Some rows of the resized logits."""

    rows: slice  # R rows of the labels
    source: slice  # n rows of the logits, from which they come
    down: Tensor  # (R, n): the share of each
    scores: Tensor  # (B, R, K, W)


def strips(logits: Tensor, size: torch.Size, align_corners: bool) -> Iterator[Strip]:
    """Resize logits (B, K, h, w) to `size` (H, W) in float32, strip by strip; scores may be overwritten."""
    batch, classes, height, width = logits.shape
    down = matrix(height, size[0], align_corners, logits.device).T.contiguous()  # (H, h)
    across = matrix(width, size[1], align_corners, logits.device)  # (w, W)
    by_row = logits.float().transpose(1, 2).flatten(2)  # (B, h, K * w)
    budget = STRIP.get(logits.device.type, LARGE_STRIP)
    step = max(1, budget // (batch * classes * size[1]))
    for first in range(0, size[0], step):
        last = min(first + step, size[0])
        source = rows_read(first, last, height, size[0], align_corners)
        part = down[first:last, source]
        scores = (part @ by_row[:, source]).unflatten(2, (classes, width)) @ across
        yield Strip(slice(first, last), source, part, scores)


def matrix(small: int, large: int, align_corners: bool, device: torch.device) -> Tensor:
    """Return the matrix of resizing `small` numbers to `large`, (small, large): that of `resize`, so equal to it."""
    return resize(torch.eye(small, device=device)[None, :, None], (1, large), align_corners)[0, :, 0]


def rows_read(first: int, last: int, small: int, large: int, align_corners: bool) -> slice:
    """Return the rows of the small map that rows `first` to `last` - 1 of the large one read, and one to each side."""
    if align_corners:
        above, below = (row * (small - 1) / max(large - 1, 1) for row in (first, last - 1))
    else:
        above, below = ((row + 0.5) * small / large - 0.5 for row in (first, last - 1))
    return slice(min(max(int(above) - 1, 0), small - 1), min(int(below) + 3, small))  # more rows have weights of 0


class WeightedSum(torch.autograd.Function):
    """Sum weight x cross-entropy: logits (B, K, h, w), target int64 and weights float32 (B, H, W) -> float32 scalar."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, weights: Tensor, align_corners: bool) -> Tensor:
        batch, classes, height, width = logits.shape
        across = matrix(width, target.shape[2], align_corners, logits.device).T.contiguous()  # (W, w)
        learns, sums = ctx.needs_input_grad[0], []
        gradient = torch.zeros(batch, height, classes * width if learns else 0, device=logits.device)
        with torch.autocast(logits.device.type, enabled=False):  # the products are of float32
            for rows, source, down, scores in strips(logits, target.shape[1:], align_corners):
                label, weight = target[:, rows, None], weights[:, rows, None]  # (B, R, 1, W)
                scores -= scores.amax(2, keepdim=True)
                of_label = scores.gather(2, label)
                total = scores.exp_().sum(2, keepdim=True)
                sums.append(((total.log() - of_label) * weight).sum())
                if learns:  # weight x (softmax - one-hot), back to the size of the logits
                    scores *= weight / total
                    scores.scatter_add_(2, label, -weight)
                    narrow = (scores @ across).flatten(2)  # (B, R, K * w)
                    gradient[:, source] += down.mT @ narrow
        if learns:
            ctx.dtype = logits.dtype
            ctx.save_for_backward(gradient.unflatten(2, (classes, width)).transpose(1, 2))
        return torch.stack(sums).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (of_sum,) = ctx.saved_tensors
        return (of_sum * gradient).to(ctx.dtype), None, None, None
