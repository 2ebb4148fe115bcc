"""The context of a prior, without the prior: its rows are made from the logits when they are needed, some at a time.

Training keeps the logits alone, and the gradient of the logits is the only other map with a number for each pair of
pixels. A strip of rows stays in the cache of a CPU.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 128  # in one strip


class RecomputedPrior(torch.autograd.Function):
    """Sum values with sigmoid(z): z (B, N, N), row = pixel, values (B, C, N) -> (B, C, N); differentiable once.

    The result, like each gradient, has the memory format of what it belongs to.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(logits, values)
        context = torch.empty_like(values)
        for found, z, v in zip(context, logits, values, strict=True):
            for rows in strips(len(z)):
                found[:, rows] = v @ z[rows].sigmoid().mT
        return context

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        logits, values = ctx.saved_tensors
        of_logits, of_values = torch.empty_like(logits), torch.zeros_like(values)
        for image, (z, v) in enumerate(zip(logits, values, strict=True)):
            for rows in strips(len(z)):
                prior, given = z[rows].sigmoid(), gradient[image, :, rows]  # (rows, N), (C, rows)
                of_values[image].addmm_(given, prior)
                slope = torch.mm(given.mT, v).mul_(prior)  # (rows, N)
                torch.mul(slope, prior.neg_().add_(1), out=of_logits[image, rows])
        return of_logits, of_values


def strips(rows: int) -> list[slice]:
    """Divide the rows of a map into strips."""
    return [slice(start, start + ROWS) for start in range(0, rows, ROWS)]
