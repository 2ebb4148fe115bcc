"""How far an image's places look, how widely, and which class takes context from which."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from contextseg.contract import IGNORE_INDEX
from contextseg.layers.attention import Attention, Size


class Reach(NamedTuple):
    """Hold what the attention of one image is like, over all places that ask.

    distance   mean distance in pixels of what a place takes from, by the weights of its row
    uniform    the same if all weights were equal
    entropy    mean entropy of a row, in percent of that of equal weights: 100 looks at all places alike, 0 at one
    exchange   (K, K), row the class that takes, column the class from which: summed shares of the places' rows
    places     (K,) places of each class that take
    available  (K,) shares of the classes among the places asked: what equal weights would take; sums to 1
    """

    distance: float
    uniform: float
    entropy: float
    exchange: NDArray[np.float64]
    places: NDArray[np.float64]
    available: NDArray[np.float64]


def reach(attention: Attention, labels: NDArray[np.uint8], num_classes: int) -> Reach:
    """Measure the attention of an image with these labels uint8 (H, W), void 255, some rows at a time.

    A row counts as shares, whatever it sums to. Labels of places are those nearest to their centres; void places take
    and give in distance and entropy, but are in no class.
    """
    height, width = labels.shape
    here, there = centres(attention.asking, (height, width)), centres(attention.asked, (height, width))
    mine, theirs = (one_hot(labels, size, num_classes) for size in (attention.asking, attention.asked))
    sums = torch.zeros(3, dtype=torch.float64)
    exchange = torch.zeros(num_classes, num_classes, dtype=torch.float64)
    for places, rows in attention.by_chunks():
        shares = rows / rows.sum(1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
        far = torch.cdist(here[places], there)
        entropy = torch.special.entr(shares).sum(1)
        sums += torch.stack([(shares * far).sum(), far.mean(1).sum(), entropy.sum()]).double()
        exchange += (mine[places].mT @ (shares @ theirs)).double()
    distance, uniform, entropy = (sums / len(here)).tolist()
    most = float(np.log(len(there)))
    return Reach(
        distance,
        uniform,
        100 * entropy / most if most else 0.0,
        exchange.numpy(),
        mine.sum(0).double().numpy(),
        (theirs.sum(0) / theirs.sum().clamp(min=1)).double().numpy(),
    )


def centres(grid: Size, size: Size) -> Tensor:
    """Return the centres (row, column) in pixels of the places of a grid (h, w) over an image of `size`: (hw, 2)."""
    return torch.cartesian_prod(
        *((torch.arange(count) + 0.5) * side / count for count, side in zip(grid, size, strict=True))
    )


def one_hot(labels: NDArray[np.uint8], grid: Size, num_classes: int) -> Tensor:
    """Mark the class of each place of a grid (h, w), by labels (H, W): float32 (hw, K), zero where void."""
    small = F.interpolate(torch.from_numpy(labels)[None, None], grid, mode="nearest-exact").flatten().long()
    void = small == IGNORE_INDEX
    return F.one_hot(small.masked_fill(void, 0), num_classes).float() * ~void[:, None]


def by_class(exchange: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return from which class each class takes, in percent: sums (K, K) over places (K,); NaN for a class without any.

    Rows do not sum to 100 where void gives too.
    """
    with np.errstate(invalid="ignore"):
        return 100 * exchange / places[:, None]
