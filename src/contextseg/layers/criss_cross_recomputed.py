"""Criss-cross attention, in two or three dimensions, that keeps no map for its backward pass but computes it again.

The maps of a loop are as large as its features, so training kept about three times the features for each loop; it keeps
queries, keys and one number a position. The weights of a position sum to one, so V's convolution is applied to the
weighted sum, which is computed again too. What is kept of the softmax, and the shortcut of its gradient, are those of
FlashAttention (Dao et al., NeurIPS 2022, Algorithm 4).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class RecomputedCrissCross(torch.autograd.Function):
    """Attend along the axes of a map, apply V's 1x1 convolution and add the map; differentiable once.

    x (B, ..., C), query and key (B, ..., C'), weight (C, C), bias (C,) -> (B, ..., C), where ... is h, w or T, h, w and
    `axes` are some of -4, -3, -2. Each position attends to all of its lines; it is counted once, in the last of them.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, query: Tensor, key: Tensor, weight: Tensor, bias: Tensor, axes: Sequence[int]
    ) -> Tensor:
        found, logsums = torch.empty_like(x), query.new_empty(*x.shape[:-1], 1)
        for image, values in enumerate(x):
            maps = list(lines(query[image], key[image], axes))
            tops = [line.amax(-1, keepdim=True).movedim(-2, axis) for axis, line in zip(axes, maps, strict=True)]
            top = torch.cat(tops, -1).amax(-1, keepdim=True)  # (..., 1)
            total = torch.zeros_like(top)
            for axis, line in zip(axes, maps, strict=True):
                total += line.sub_(top.movedim(axis, -2)).exp_().sum(-1, keepdim=True).movedim(-2, axis)
            for axis, line in zip(axes, maps, strict=True):
                line.div_(total.movedim(axis, -2))
            logsums[image] = top + total.log()
            summed = weighted(maps, values, axes)
            torch.addmm(values.flatten(0, -2), summed.flatten(0, -2), weight.T, out=found[image].view(-1, len(weight)))
        found += bias
        ctx.axes = axes
        ctx.save_for_backward(x, query, key, weight, logsums)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, query, key, weight, logsums = ctx.saved_tensors
        axes, gradient = ctx.axes, gradient.contiguous()
        of_x, of_query, of_key = torch.empty_like(x), torch.zeros_like(query), torch.zeros_like(key)
        of_weight = torch.zeros_like(weight)
        for image, values in enumerate(x):
            scores = zip(axes, lines(query[image], key[image], axes), strict=True)
            maps = [line.sub_(logsums[image].movedim(axis, -2)).exp_() for axis, line in scores]
            summed, of_value = weighted(maps, values, axes), gradient[image].flatten(0, -2)
            of_weight.addmm_(of_value.T, summed.flatten(0, -2))
            of_sum = (of_value @ weight).view_as(values)
            torch.add(weighted([line.mT for line in maps], of_sum, axes), gradient[image], out=of_x[image])
            mean = (of_sum * summed).sum(-1, keepdim=True)  # (..., 1), the mean of the map's gradient by its weights
            for axis, line in zip(axes, maps, strict=True):
                of_score = of_sum.movedim(axis, -2) @ values.movedim(axis, -2).mT
                of_score.sub_(mean.movedim(axis, -2)).mul_(line)
                of_query[image] += (of_score @ key[image].movedim(axis, -2)).movedim(-2, axis)
                of_key[image] += (of_score.mT @ query[image].movedim(axis, -2)).movedim(-2, axis)
        return of_x, of_query, of_key, of_weight, gradient.flatten(0, -2).sum(0), None


def lines(query: Tensor, key: Tensor, axes: Sequence[int]) -> Iterator[Tensor]:
    """Compute the scores of one image along each axis: query, key (..., C') -> (the others, n, n) for an axis of n."""
    for axis in axes:
        line = query.movedim(axis, -2) @ key.movedim(axis, -2).mT
        if axis != axes[-1]:
            line.diagonal(dim1=-2, dim2=-1).fill_(-torch.inf)  # the position itself is counted in the last line
        yield line


def weighted(maps: Sequence[Tensor], values: Tensor, axes: Sequence[int]) -> Tensor:
    """Sum values (..., C) of one image along each axis with its map (the others, n, n): (..., C)."""
    *others, last = zip(axes, maps, strict=True)
    axis, line = last
    found = (line @ values.movedim(axis, -2)).movedim(-2, axis)
    for axis, line in others:
        if found.dim() == 3:  # no copy of the sum
            found.movedim(axis, -2).baddbmm_(line, values.movedim(axis, -2))
        else:
            found += (line @ values.movedim(axis, -2)).movedim(-2, axis)
    return found
