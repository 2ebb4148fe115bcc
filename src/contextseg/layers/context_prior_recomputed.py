"""The context of a prior, without the prior: its rows are made from the logits when they are needed, some at a time.

Training keeps the logits alone, and the gradient of the logits is the only other map with a number for each pair of
pixels. A strip stays in the cache of a CPU; its rows are those that lie together in memory: of the pixels where the
convolution wrote channels last, of their partners otherwise.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 256  # in one strip


class RecomputedPrior(torch.autograd.Function):
    """Sum values with sigmoid(z): z (B, N, N), row = pixel, values (B, C, N) -> (B, C, N); differentiable once.

    The result, like each gradient, has the memory format of what it belongs to.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(logits, values)
        context = torch.zeros_like(values)
        by_pixel = logits.is_contiguous()
        for found, z, v in zip(context, logits, values, strict=True):
            for rows, part in strips(z if by_pixel else z.mT):
                (gather if by_pixel else scatter)(found, v, part.sigmoid(), rows)
        return context

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        logits, values = ctx.saved_tensors
        of_logits, of_values = torch.empty_like(logits), torch.zeros_like(values)
        by_pixel = logits.is_contiguous()
        for found, of_z, z, v, g in zip(of_values, of_logits, logits, values, gradient, strict=True):
            if not by_pixel:
                z, of_z = z.mT, of_z.mT
            for rows, part in strips(z):
                prior = part.sigmoid()  # (rows, N)
                (scatter if by_pixel else gather)(found, g, prior, rows)
                slope = g[:, rows].mT @ v if by_pixel else v[:, rows].mT @ g  # (rows, N)
                torch.mul(slope.mul_(prior), prior.neg_().add_(1), out=of_z[rows])
        return of_logits, of_values


def strips(rows: Tensor) -> list[tuple[slice, Tensor]]:
    """Divide a matrix (N, N) into strips of rows, each with its place."""
    return [(slice(start, start + ROWS), rows[start : start + ROWS]) for start in range(0, len(rows), ROWS)]


def gather(found: Tensor, given: Tensor, part: Tensor, rows: slice) -> None:
    """Add to the places of a strip (rows, N) what they take from all: given (C, N), found (C, N)."""
    found[:, rows].addmm_(given, part.mT)


def scatter(found: Tensor, given: Tensor, part: Tensor, rows: slice) -> None:
    """Add to all places what they take from those of a strip (rows, N): given (C, N), found (C, N)."""
    found.addmm_(given[:, rows], part)
