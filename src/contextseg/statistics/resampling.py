"""Sets of images as large as the real one, drawn from it with replacement: image by image, or in blocks of frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contextseg.errors import ConfigError
from contextseg.statistics.image_counts import ImageCounts
from contextseg.statistics.scores import scores
from contextseg.statistics.sequences import apart, in_sequences

CHUNK = 256  # resamples at a time: their weights and sums stay small
FEWEST = 10  # blocks; fewer leave too little to draw from


class Images(Protocol):
    """Images that are resampled."""

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in the order of the data set."""

    @property
    def block(self) -> int | None:
        """How many frames in a row hang together; None: they are no frames."""

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Resampling:
    """Resample images (Efron and Tibshirani 1993, chapter 6).

    resamples  how many
    block      frames in a row that are drawn together; 1: every image by itself; None: what the data set says
    seed       two runs on the same images get the same resamples

    Blocks begin at any frame with the same chance and stay in its sequence, whose last frame is followed by its first,
    so that all frames are equally likely (the circular block bootstrap, Politis and Romano 1992; blocks: Künsch 1989).
    The last block is cut to the number of images.
    """

    resamples: int = 10_000
    block: int | None = None
    seed: int = 0

    def length(self, counts: Images) -> int:
        """Return the block length for these images. Raises `ConfigError` for blocks of images that are no frames."""
        if self.block is not None and self.block > 1 and counts.block is None:
            raise ConfigError(f"block={self.block}: the images are not declared to be frames of videos; give block=1")
        return self.block or counts.block or 1

    def few_blocks(self, counts: Images) -> bool:
        """Tell whether so few blocks are drawn that an interval is too short. Raises what `length` raises."""
        length = self.length(counts)
        return length > 1 and len(counts) < FEWEST * length

    def weights(self, counts: Images) -> Iterator[NDArray[np.int64]]:
        """Yield how often each image is drawn, (up to `CHUNK`, N); every row sums to N."""
        rng, length, size = np.random.default_rng(self.seed), self.length(counts), len(counts)
        order, begin, frames = in_sequences(counts.names) if length > 1 else apart(size)
        steps = np.arange(length)
        for done in range(0, self.resamples, CHUNK):
            rows = min(CHUNK, self.resamples - done)
            start = rng.integers(size, size=(rows, -(-size // length), 1))
            place = begin[start] + (start - begin[start] + steps) % frames[start]
            drawn = order[place.reshape(rows, -1)[:, :size]]
            cells = (drawn + size * np.arange(rows)[:, None]).ravel()
            yield np.bincount(cells, minlength=rows * size).reshape(rows, size)

    def scores(self, counts: ImageCounts) -> NDArray[np.float64]:
        """Compute the scores of every resample, (resamples, 2), as `SCORES` names them, in percent; read-only."""
        return resampled(self, counts)


@lru_cache(maxsize=8)  # the seeds of a base, with which one row after the other is compared
def resampled(how: Resampling, counts: ImageCounts) -> NDArray[np.float64]:
    """Compute what `Resampling.scores` returns."""
    flat = counts.totals.reshape(len(counts), -1).astype(np.float64)  # exact: below 2 to the power of 53
    sums = (weights @ flat for weights in how.weights(counts))
    found = np.concatenate([scores(total.reshape(-1, counts.num_classes, 3)) for total in sums])
    found.flags.writeable = False
    return found
