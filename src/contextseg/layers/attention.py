"""Attention between places as an operator: rows and columns of its matrix are computed when they are asked for.

Row i of the matrix holds what place i takes from every place, column j what every place takes from place j. The matrix
itself has a number for each pair of places, 4 GB for a map of 128 x 256, so nothing here makes it.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

Size = tuple[int, int]  # height, width
CHUNK = 2**24  # numbers of some rows together: 64 MB, which the C library takes from the system and gives back


class QueryKey(NamedTuple):
    """Hold what a softmax of products is made of: queries (B, N, C), keys (B, M, C)."""

    query: Tensor
    key: Tensor

    def detach(self) -> "QueryKey":
        """Return both without their graph."""
        return QueryKey(self.query.detach(), self.key.detach())

    def cpu(self) -> "QueryKey":
        """Return both on the CPU."""
        return QueryKey(self.query.cpu(), self.key.cpu())

    def weights(self) -> Tensor:
        """Compute the whole matrix (B, N, M), rows sum to 1: for small maps only."""
        return (self.query @ self.key.mT).softmax(-1)


class Attention:
    """Weights, not negative, that each of N = hw places gives to each of M = h'w' places.

    asking  (h, w), the map whose places take
    asked   (h', w'), the map whose places are taken from

    A subclass writes `rows`; the others follow from it by chunks, at the price of all rows.
    """

    def __init__(self, asking: Size, asked: Size):
        self.asking, self.asked = asking, asked

    def rows(self, places: Tensor) -> Tensor:
        """Compute the rows of places int64 (n,): (n, M), in float32 at least."""
        raise NotImplementedError

    def columns(self, places: Tensor) -> Tensor:
        """Compute the columns of places int64 (n,) of the map asked: (n, N)."""
        return torch.cat([rows[:, places] for _, rows in self.by_chunks()]).mT

    def pull(self, weights: Tensor) -> Tensor:
        """Multiply rows with the matrix: (n, N) -> (n, M)."""
        return torch.stack([weights[:, places] @ rows for places, rows in self.by_chunks()]).sum(0)

    def push(self, values: Tensor) -> Tensor:
        """Multiply the matrix with columns, given as rows: (n, M) -> (n, N)."""
        return torch.cat([rows @ values.mT for _, rows in self.by_chunks()]).mT

    def by_chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all rows, some at a time: places int64 (n,), rows (n, M)."""
        count = max(1, CHUNK // math.prod(self.asked))
        for places in torch.arange(math.prod(self.asking)).split(count):
            yield places, self.rows(places)

    def row(self, point: Size, size: Size) -> Tensor:
        """Return where a point (row, column) of a map of `size` takes from: (h', w')."""
        return self.rows(number(point, size, self.asking))[0].unflatten(0, self.asked)

    def column(self, point: Size, size: Size) -> Tensor:
        """Return who takes from a point (row, column) of a map of `size`: (h, w)."""
        return self.columns(number(point, size, self.asked))[0].unflatten(0, self.asking)


def number(point: Size, size: Size, grid: Size) -> Tensor:
    """Return the number int64 (1,) of the place of a grid (h, w) in which the middle of a point of `size` lies."""
    row, column = ((2 * at + 1) * places // (2 * side) for at, places, side in zip(point, grid, size, strict=True))
    return torch.tensor([row * grid[1] + column])


def precise(values: Tensor) -> Tensor:
    """Return numbers in float32, or as they are if they are more precise."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class Dense(Attention):
    """The matrix itself (N, M), for maps whose size is fixed."""

    def __init__(self, matrix: Tensor, asking: Size, asked: Size):
        super().__init__(asking, asked)
        self.matrix = matrix

    def rows(self, places: Tensor) -> Tensor:
        return precise(self.matrix[places])

    def columns(self, places: Tensor) -> Tensor:
        return precise(self.matrix[:, places].mT)


class Rest(Attention):
    """One less the weights of another attention."""

    def __init__(self, other: Attention):
        super().__init__(other.asking, other.asked)
        self.other = other

    def rows(self, places: Tensor) -> Tensor:
        return 1 - self.other.rows(places)

    def columns(self, places: Tensor) -> Tensor:
        return 1 - self.other.columns(places)


class DotProduct(Attention):
    """A softmax over the places asked of products of queries (N, C) and keys (M, C)."""

    def __init__(self, query: Tensor, key: Tensor, asking: Size, asked: Size):
        super().__init__(asking, asked)
        self.query, self.key = precise(query), precise(key)

    def rows(self, places: Tensor) -> Tensor:
        return (self.query[places] @ self.key.mT).softmax(-1)

    def columns(self, places: Tensor) -> Tensor:
        return (self.query @ self.key[places].mT - self.totals[:, None]).exp().mT

    @cached_property
    def totals(self) -> Tensor:
        """The logarithm of the sum of each row's exponentials (N,): the first column costs all products once."""
        count = max(1, CHUNK // len(self.key))
        return torch.cat([(query @ self.key.mT).logsumexp(-1) for query in self.query.split(count)])


class Factored(Attention):
    """A product of two matrices, (N, K) and (K, M): places take from K regions, which were gathered from places."""

    def __init__(self, taken: Tensor, gathered: Tensor, asking: Size, asked: Size):
        super().__init__(asking, asked)
        self.taken, self.gathered = precise(taken), precise(gathered)

    def rows(self, places: Tensor) -> Tensor:
        return self.taken[places] @ self.gathered

    def columns(self, places: Tensor) -> Tensor:
        return (self.taken @ self.gathered[:, places]).mT


class Chain(Attention):
    """Loops one after the other: the product A_R ... A_1 of their matrices, given in the order in which they ran.

    Residuals and convolutions between them stay at the place and are omitted.
    """

    def __init__(self, loops: Sequence[Attention]):
        super().__init__(loops[-1].asking, loops[0].asked)
        self.loops = loops

    def rows(self, places: Tensor) -> Tensor:
        *before, last = self.loops
        found = last.rows(places)
        for loop in reversed(before):
            found = loop.pull(found)
        return found

    def columns(self, places: Tensor) -> Tensor:
        first, *after = self.loops
        found = first.columns(places)
        for loop in after:
            found = loop.push(found)
        return found


class Mean(Attention):
    """The mean of several attentions between the same maps."""

    def __init__(self, parts: Sequence[Attention]):
        super().__init__(parts[0].asking, parts[0].asked)
        self.parts = parts

    def rows(self, places: Tensor) -> Tensor:
        return torch.stack([part.rows(places) for part in self.parts]).mean(0)

    def columns(self, places: Tensor) -> Tensor:
        return torch.stack([part.columns(places) for part in self.parts]).mean(0)
