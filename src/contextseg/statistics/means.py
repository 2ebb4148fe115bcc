"""Means of numbers that every image has, and between which values they lie in resamples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contextseg.statistics.bootstrap import Difference, Interval, between, two_sided
from contextseg.statistics.resampling import Resampling


@dataclass(frozen=True, eq=False)
class ImageNumbers:
    """Numbers of N images: `values` float (N, M); `names` and `block` as in `ImageCounts`. NaN: an image has none."""

    names: tuple[str, ...]
    values: NDArray[np.float64]
    block: int | None = None

    def __len__(self) -> int:
        return len(self.names)


def mean_intervals(images: ImageNumbers, how: Resampling) -> list[Interval]:
    """Compute the mean over the images of each of the M numbers, and its percentile interval (see `interval`)."""
    draws, means = resampled(images, how), mean(images.values)
    return [Interval(float(value), *between(draws[:, i])) for i, value in enumerate(means)]


def mean_differences(images: ImageNumbers, how: Resampling) -> list[Difference]:
    """Compute the same for numbers that are differences, each of one image, with a two-sided p (see `difference`)."""
    draws, means = resampled(images, how), mean(images.values)
    return [Difference(float(value), *between(draws[:, i]), two_sided(draws[:, i])) for i, value in enumerate(means)]


def resampled(images: ImageNumbers, how: Resampling) -> NDArray[np.float64]:
    """Compute the means of every resample (resamples, M); NaN where none of its images has the number."""
    there = ~np.isnan(images.values)
    values = np.where(there, images.values, 0)
    with np.errstate(invalid="ignore"):
        return np.concatenate([(weights @ values) / (weights @ there) for weights in how.weights(images)])


def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the mean over the images that have a number: (N, M) -> (M,); NaN if none has."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0).sum(0) / there.sum(0)


def thinned_block(block: int | None, images: int, chosen: int) -> int | None:
    """Return how many of `chosen` images, spread evenly over `images` frames, hang together as `block` frames do."""
    return None if block is None else max(1, -(-block * chosen // images))


def spread(images: int, chosen: int) -> Sequence[int]:
    """Return the places of `chosen` images, or of all if there are fewer, spread evenly over `images`."""
    return np.linspace(0, images - 1, min(chosen, images)).round().astype(int).tolist()
