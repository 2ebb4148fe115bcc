"""The agreement of two orders: Kendall's τ-b, its p-value by permutation, and its range over the seeds."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contextseg.statistics.bootstrap import mean_of_redrawn

MIN_ROWS = 4  # fewer have too few orders for a statement
MAX_EXACT = 8  # rows of which all orders are enumerated
DRAWS = 10_000  # random orders, or random means, otherwise


@dataclass
class Agreement:
    """The agreement of our order with the published one.

    chance     the share of all orders of our rows that agree at least as well (one-sided permutation test)
    low, high  bounds of 95 % of the τ if every row's mean is sampled again from its seeds; None if no row has two
    single     rows with one seed, which the sampling cannot change
    """

    rows: int
    tau: float
    chance: float
    low: float | None
    high: float | None
    single: int


def agreement(published: Sequence[float], seeds: Sequence[Sequence[float]]) -> Agreement | None:
    """Measure the agreement of one published value and the values of our seeds per row.

    None if there are fewer than `MIN_ROWS` rows, or if one of the two sides is constant.
    """
    if len(published) < MIN_ROWS:
        return None
    theirs, ours = np.asarray(published, dtype=float), np.array([np.mean(values) for values in seeds])
    tau = float(tau_b(theirs, ours))
    if math.isnan(tau):
        return None
    rng = np.random.default_rng(0)
    low = high = None
    if any(len(values) > 1 for values in seeds):
        drawn = tau_b(theirs, np.stack([redrawn(values, rng) for values in seeds], axis=-1))
        low, high = (float(tau) for tau in np.nanpercentile(drawn, [2.5, 97.5]))
    single = sum(len(values) == 1 for values in seeds)
    return Agreement(len(theirs), tau, chance(theirs, ours, rng), low, high, single)


def tau_b(one: NDArray, other: NDArray) -> NDArray:
    """Compute Kendall's τ-b of values (m,) and (..., m): (...); NaN if all pairs of one are tied.

    It is concordant less discordant pairs, over the geometric mean of the two numbers of pairs that are not tied.
    """
    i, j = np.triu_indices(len(one), 1)
    signs, others = np.sign((one[i] - one[j]).round(9)), np.sign((other[..., i] - other[..., j]).round(9))
    untied = np.sqrt(np.abs(signs).sum() * np.abs(others).sum(-1))
    with np.errstate(invalid="ignore"):
        return others @ signs / untied


def chance(theirs: NDArray, ours: NDArray, rng: np.random.Generator) -> float:
    """Compute the share of all orders of our values, or of `DRAWS` random ones, whose τ is at least that of ours."""
    tau = tau_b(theirs, ours) - 1e-9
    if len(ours) <= MAX_EXACT:
        orders = np.array(list(itertools.permutations(range(len(ours)))))
        return float(np.mean(tau_b(theirs, ours[orders]) >= tau))
    orders = rng.permuted(np.tile(np.arange(len(ours)), (DRAWS, 1)), axis=1)
    return float((1 + np.sum(tau_b(theirs, ours[orders]) >= tau)) / (1 + DRAWS))


def redrawn(values: Sequence[float], rng: np.random.Generator) -> NDArray:
    """Means of as many values, drawn with replacement and enlarged as `mean_of_redrawn` says: (DRAWS,)."""
    return mean_of_redrawn(np.broadcast_to(np.asarray(values, dtype=float), (DRAWS, len(values))), rng)
