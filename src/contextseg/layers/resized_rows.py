"""Rows of a bilinearly resized map, each from the two rows around it: the whole resized map never exists."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import groupby

import torch
from torch import Tensor

from contextseg.layers.resize import resize


class ResizedRows:
    """Compute rows of `resize(x, size, align_corners)` in float32, for callers that go down the map strip by strip.

    x       (B, C, h, w), or a function that returns some of its rows: slice -> (B, C, len(rows), w)
    height  h, needed if `x` is a function

    A row of `x` is widened once: those that the last call ended with are kept for the next one.
    """

    def __init__(
        self,
        x: Tensor | Callable[[slice], Tensor],
        size: Sequence[int],
        align_corners: bool = False,
        height: int | None = None,
    ):
        if isinstance(x, Tensor):
            whole, height = x, x.shape[-2]
            x = lambda rows: whole[..., rows, :]  # noqa: E731
        assert height is not None
        self.x, self.height, self.size, self.align_corners = x, height, tuple(size), align_corners
        self.wide: dict[int, Tensor] = {}  # row of x -> (B, C, 1, W)

    def __call__(self, rows: slice) -> Tensor:
        """Return rows of the resized map: float32 (B, C, len(rows), W), contiguous, its memory the caller's."""
        above, below, part = taps(self.height, self.size[0], self.align_corners)
        lines = list(zip(above[rows], below[rows], strict=True))
        self._widen(lines[0][0], lines[-1][1])
        if self.height == self.size[0]:
            return torch.cat([self.wide[line] for line, _ in lines], 2)
        one = self.wide[lines[0][0]]
        found = one.new_empty(*one.shape[:2], len(lines), one.shape[3])
        weights, done = part[rows].to(one.device)[:, None], 0
        for upper, same in groupby(above[rows]):  # the rows between the same two
            place = slice(done, done := done + len(list(same)))
            lower = max(line for _, line in lines[place])
            torch.lerp(self.wide[upper], self.wide[lower], weights[place], out=found[:, :, place])
        return found

    def _widen(self, first: int, last: int) -> None:
        """Bring rows `first` to `last` of x to the new width, and forget all others."""
        kept = self.wide if first in self.wide else {}
        self.wide = {line: row for line, row in kept.items() if first <= line <= last}
        start = max(self.wide, default=first - 1) + 1
        if start <= last:
            new = self.x(slice(start, last + 1)).float().contiguous()
            new = resize(new, (new.shape[-2], self.size[1]), self.align_corners)
            self.wide |= dict(enumerate(new.split(1, 2), start))


@lru_cache(64)
def taps(length: int, size: int, align_corners: bool) -> tuple[list[int], list[int], Tensor]:
    """Return how a line of `length` values is resized to `size`: which two each lies between, and the second's weight.

    The weights are float32 (size,); where it is 0 the second is the first.
    `resize` itself is asked, with lines that are 0 but for one 1, so the weights are its own.
    """
    share = resize(torch.eye(length)[None, :, :, None], (size, 1), align_corners)[0, :, :, 0]  # (length, size)
    above = (share > 0).byte().argmax(0)  # the first of equals
    below = (above + 1).clamp(max=length - 1)
    weight = share.gather(0, below[None])[0].where(below > above, 0)
    return above.tolist(), below.where(weight > 0, above).tolist(), weight
