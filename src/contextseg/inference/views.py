"""Views of one image: the network's logits, kept at their own size; rows at label size are computed on demand.

So the memory of a prediction does not grow with views x K x H x W. A view has `classes`, their number, and

    rows(size, rows, score, align_corners) -> float32 (1, K, len(rows), size[1])

which returns rows of the scores at `size` (height, width). `score` turns logits (1, K, h, w) into scores of the same
shape; `align_corners` is that of `layers.resize`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from contextseg.layers.resize import resize

Score = Callable[[Tensor], Tensor]


class WholeView:
    """Hold the logits (1, K, h, w) of a whole view; they are resized, then scored."""

    def __init__(self, logits: Tensor):
        self.logits, self.classes = logits, logits.shape[1]

    def rows(self, size: Sequence[int], rows: slice, score: Score, align_corners: bool = False) -> Tensor:
        return score(resized_rows(self.logits, size, rows, align_corners))


class WindowView:
    """Hold the logits of windows: each is scored at its own size; overlaps are averaged; the result is resized.

    size    (height, width) of the view; beyond it there is only padding
    places  rows and columns of each window
    logits  (K, h, w) of each window
    """

    def __init__(self, size: Sequence[int], places: Sequence[tuple[slice, slice]], logits: Sequence[Tensor]):
        self.size, self.places, self.logits = tuple(size), places, logits
        self.classes = len(logits[0])

    def rows(self, size: Sequence[int], rows: slice, score: Score, align_corners: bool = False) -> Tensor:
        average = lambda needed: self.average(needed, score, align_corners)  # noqa: E731
        return resized_rows(average, size, rows, align_corners, self.size[0])

    def average(self, rows: slice, score: Score, align_corners: bool) -> Tensor:
        """Return rows of the averaged scores at the size of the view: (1, K, len(rows), width)."""
        width = self.size[1]
        total = self.logits[0].new_zeros(1, self.classes, rows.stop - rows.start, width, dtype=torch.float32)
        seen = total.new_zeros(total.shape[-2:])
        for (down, across), logits in zip(self.places, self.logits, strict=True):
            start, stop = max(rows.start, down.start), min(rows.stop, down.stop)
            if start >= stop:
                continue
            window = (down.stop - down.start, across.stop - across.start)
            inside = slice(start - down.start, stop - down.start)
            part = score(resized_rows(logits[None], window, inside, align_corners))
            place = (..., slice(start - rows.start, stop - rows.start), slice(across.start, min(across.stop, width)))
            total[place] += part[..., : width - across.start]
            seen[place] += 1
        return total.div_(seen)


def resized_rows(
    x: Tensor | Callable[[slice], Tensor],
    size: Sequence[int],
    rows: slice,
    align_corners: bool = False,
    height: int | None = None,
) -> Tensor:
    """Return rows of `resize(x, size, align_corners)` in float32, from the rows of `x` around them alone.

    `x`: (B, C, h, w), or a function that returns rows of it, which needs its `height`.
    """
    if isinstance(x, Tensor):
        whole, height = x, x.shape[-2]
        x = lambda needed: whole[..., needed, :]  # noqa: E731
    assert height is not None
    if height == size[0]:
        return resize(x(rows).float(), (rows.stop - rows.start, size[1]), align_corners)
    at = torch.arange(rows.start, rows.stop)  # as torch counts
    if align_corners:
        at = at * ((height - 1) / max(size[0] - 1, 1))
    else:
        at = ((at + 0.5) * (height / size[0]) - 0.5).clamp(min=0)
    above = at.long().clamp(max=height - 1)
    below = (above + 1).clamp(max=height - 1)
    first, last = int(above[0]), int(below[-1])
    wide = resize(x(slice(first, last + 1)).float(), (last + 1 - first, size[1]), align_corners)
    part = (at - above).to(wide.device)[:, None]
    upper, lower = (wide[..., (line - first).to(wide.device), :] for line in (above, below))
    return torch.lerp(upper, lower, part)
