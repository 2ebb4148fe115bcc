"""Windows of a map, each as if it were a map of its own."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def in_windows(block: Callable[..., Tensor], *maps: Tensor, side: int) -> Tensor:
    """Run a block on each window of `side` x `side` places alone: maps (B, C_i, h, w) -> (B, C, h, w).

    A map that no whole number of windows covers is continued by its last row and column, which are cut off again.
    """
    height, width = maps[0].shape[-2:]
    rows, columns = -(-height // side), -(-width // side)
    padding = (0, columns * side - width, 0, rows * side - height)
    folded = [
        F.pad(one, padding, mode="replicate")
        .unflatten(3, (columns, side))
        .unflatten(2, (rows, side))  # (B, C, rows, side, columns, side)
        .permute(0, 2, 4, 1, 3, 5)
        .flatten(0, 2)
        for one in maps
    ]
    found = block(*folded)  # (B rows columns, C, side, side)
    found = found.unflatten(0, (-1, rows, columns)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    return found[..., :height, :width]


def same_window(size: Sequence[int], side: int, device: torch.device) -> Tensor:
    """Tell which pixels of a map (h, w) are in one window of `side` x `side` places: bool (hw, hw)."""
    rows, columns = (torch.arange(length, device=device) // side for length in size)
    window = (rows[:, None] * len(columns) + columns).flatten()  # a number for each
    return window[:, None] == window
