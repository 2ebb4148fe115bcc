"""Views of one image: the network's logits, kept at their own size; rows at label size are computed on demand.

So the memory of a prediction does not grow with views x K x H x W. A view has `classes`, their number, and

    scores(size, score, align_corners) -> function: rows -> float32 (1, K, len(rows), size[1])

whose function returns rows of the scores at `size` (height, width), and is quick for one who goes down the image.
`score` turns logits (1, K, h, w), which it may overwrite, into scores of the same shape; `align_corners` is that of
`layers.resize`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from contextseg.layers.resized_rows import ResizedRows

Score = Callable[[Tensor], Tensor]
Rows = Callable[[slice], Tensor]


class WholeView:
    """Hold the logits (1, K, h, w) of a whole view; they are resized, then scored."""

    def __init__(self, logits: Tensor):
        self.logits, self.classes = logits, logits.shape[1]

    def scores(self, size: Sequence[int], score: Score, align_corners: bool = False) -> Rows:
        resized = ResizedRows(self.logits, size, align_corners)
        return lambda rows: score(resized(rows))


class WindowView:
    """Hold the logits of windows: each is scored at its own size; overlaps are averaged; the result is resized.

    size    (height, width) of the view; beyond it there is only padding
    places  rows and columns of each window
    logits  (K, h, w) of each window
    """

    def __init__(self, size: Sequence[int], places: Sequence[tuple[slice, slice]], logits: Sequence[Tensor]):
        self.size, self.places, self.logits = tuple(size), places, logits
        self.classes = len(logits[0])

    def scores(self, size: Sequence[int], score: Score, align_corners: bool = False) -> Rows:
        return ResizedRows(self.averages(score, align_corners), size, align_corners, self.size[0])

    def averages(self, score: Score, align_corners: bool) -> Rows:
        """Return a function: rows -> averaged scores at the size of the view (1, K, len(rows), width)."""
        width = self.size[1]
        windows = [
            ResizedRows(logits[None], (down.stop - down.start, across.stop - across.start), align_corners)
            for (down, across), logits in zip(self.places, self.logits, strict=True)
        ]

        def average(rows: slice) -> Tensor:
            total = self.logits[0].new_zeros(1, self.classes, rows.stop - rows.start, width, dtype=torch.float32)
            seen = total.new_zeros(total.shape[-2:])
            for (down, across), window in zip(self.places, windows, strict=True):
                start, stop = max(rows.start, down.start), min(rows.stop, down.stop)
                if start >= stop:
                    continue
                part = score(window(slice(start - down.start, stop - down.start)))
                there = slice(start - rows.start, stop - rows.start), slice(across.start, min(across.stop, width))
                total[..., *there] += part[..., : width - across.start]
                seen[there] += 1
            return total.div_(seen)

        return average
