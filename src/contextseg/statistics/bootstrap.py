"""What resamples say of a score, and of the difference of two: percentile intervals and a two-sided p."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contextseg.errors import ConfigError
from contextseg.statistics.image_counts import ImageCounts
from contextseg.statistics.resampling import Resampling
from contextseg.statistics.scores import SCORES, scores

LEVEL = 95  # percent


@dataclass(frozen=True)
class Interval:
    """A number, such as a score in percent, and between which values lie 95 % of its resamples."""

    value: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """High less low."""
        return self.high - self.low


@dataclass(frozen=True)
class Difference(Interval):
    """A difference of two such numbers; `p`: how often chance gives one as large, on either side."""

    p: float


def interval(seeds: Sequence[ImageCounts], how: Resampling) -> dict[str, Interval]:
    """Compute the percentile interval of the mean over the seeds of each score (Efron and Tibshirani 1993, 13.3).

    Images are resampled, the same for all seeds; the networks stay as they are. Returns one for each of `SCORES`.
    Raises `ConfigError` if the seeds were scored on different images.
    """
    refuse_other_images(seeds)
    means = np.mean([how.scores(counts) for counts in seeds], 0)
    values = np.mean([observed(counts) for counts in seeds], 0)
    return {name: Interval(float(values[i]), *between(means[:, i])) for i, name in enumerate(SCORES)}


def difference(ours: Sequence[ImageCounts], theirs: Sequence[ImageCounts], how: Resampling) -> dict[str, Difference]:
    """Compare two runs, or two sets of seeds, on the same images: mean of ours less mean of theirs, for each score.

    Images are resampled for both sides together, seeds within each side; one seed alone stays as it is. p is twice the
    smaller share of resamples on one side of 0, as in Efron and Tibshirani 1993, 15.4, so p < 0.05 where the interval
    does not hold 0. Raises `ConfigError` if the images are not the same.
    """
    refuse_other_images([*ours, *theirs])
    drawn, values = [], []
    for side, sets in enumerate((ours, theirs)):
        rng = np.random.default_rng([how.seed, 1 + side])
        by_seed = np.stack([how.scores(counts) for counts in sets], 1)  # (resamples, seeds, 2)
        drawn.append(mean_of_redrawn(by_seed, rng))
        values.append(np.mean([observed(counts) for counts in sets], 0))
    draws, value = drawn[0] - drawn[1], values[0] - values[1]
    return {
        name: Difference(float(value[i]), *between(draws[:, i]), two_sided(draws[:, i]))
        for i, name in enumerate(SCORES)
    }


def observed(counts: ImageCounts) -> NDArray[np.float64]:
    """Compute the scores of the images themselves, (2,)."""
    return scores(counts.totals.sum(0))


def between(draws: NDArray[np.float64]) -> tuple[float, float]:
    """Return the two percentiles between which lie 95 % of the draws (R,); NaN if a draw has no score."""
    low, high = np.percentile(draws, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
    return float(low), float(high)


def two_sided(draws: NDArray[np.float64]) -> float:
    """Return twice the share of the draws (R,) on the rarer side of 0; NaN if a draw has no score.

    It is never 0, because the real images count as one more draw.
    """
    if np.isnan(draws).any():
        return float("nan")
    rarer = min(np.sum(draws <= 0), np.sum(draws >= 0))
    return float(min(1, 2 * (1 + rarer) / (1 + len(draws))))


def mean_of_redrawn(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw as many seeds as there are, with replacement, in every row, and average them: (R, S, ...) -> (R, ...).

    Deviations from the mean are enlarged by √(S / (S - 1)), without which few seeds would look steadier than they are.
    """
    rows, seeds = values.shape[:2]
    mean = values.mean(1)
    if seeds == 1:
        return mean
    drawn = values[np.arange(rows)[:, None], rng.integers(seeds, size=(rows, seeds))].mean(1)
    return mean + (drawn - mean) * np.sqrt(seeds / (seeds - 1))


def refuse_other_images(sets: Sequence[ImageCounts]) -> None:
    """Raise `ConfigError` unless all counts are of the same images with the same labels."""
    first = sets[0]
    for other in sets[1:]:
        if fault := apart_in(first, other):
            raise ConfigError(
                f"two runs were scored on different images ({fault}); evaluate both on one split of one data set, with "
                "the same labels"
            )


def apart_in(one: ImageCounts, other: ImageCounts) -> str | None:
    """Say in what the images of two sets of counts differ; None if they are the same."""
    if one.num_classes != other.num_classes:
        return f"{one.num_classes} and {other.num_classes} classes"
    if len(one) != len(other):
        return f"{len(one)} and {len(other)} images"
    for ours, theirs in zip(one.names, other.names, strict=True):
        if ours != theirs:
            return f"{ours} and {theirs}"
    differ = (one.totals[..., 1] != other.totals[..., 1]).any(1)
    return f"{one.names[int(differ.argmax())]} has other labels" if differ.any() else None
