"""The order of samples: a keyed training stream, and an evaluation that visits every image once.

The training stream is an endless sequence of positions. Position p belongs to epoch p // length and has the index
that stands at place p % length of that epoch's permutation. A batch is a range of positions, whatever the number of
processes. So a restart begins at a later batch, and a batch may lie in two epochs.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby

import numpy as np

from contextseg.errors import ConfigError

Key = tuple[int, int]  # (epoch, index)


@lru_cache(maxsize=4)
def _permutation(length: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(length)


def stream_key(position: int, *, length: int, seed: int) -> Key:
    """Return the (epoch, index) at a position of the endless stream over `length` samples."""
    epoch, place = divmod(position, length)
    return epoch, int(_permutation(length, seed, epoch)[place])


class KeyedBatchSampler:
    """Yield batches of keys (epoch, index) for one process: every `world_size`-th position of each micro-batch.

    `batch_size` counts the images of a micro-batch over all processes. The batches are `first_batch` to
    `num_batches` - 1. The union over the processes does not depend on their number.
    """

    def __init__(
        self,
        *,
        length: int,
        batch_size: int,
        seed: int,
        num_batches: int,
        first_batch: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.first_batch = first_batch
        self.num_batches = num_batches
        self.rank = rank
        self.world_size = world_size

    def __len__(self) -> int:
        """Count all batches, those before `first_batch` too, because a restarted Lightning loop counts them."""
        return self.num_batches

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in range(self.first_batch, self.num_batches):
            positions = range(batch * self.batch_size + self.rank, (batch + 1) * self.batch_size, self.world_size)
            yield [stream_key(position, length=self.length, seed=self.seed) for position in positions]


class StridedEvalSampler:
    """Yield batches of keys (0, index) for one process: indices rank, rank + world_size, ..., without padding.

    Every image is read exactly once over all processes. `sizes`: one value per image; a batch ends where it changes.
    Raises `ConfigError` if a process would get no image, because the others would wait for it.
    """

    def __init__(
        self, *, length: int, batch_size: int = 1, rank: int = 0, world_size: int = 1, sizes: Sequence | None = None
    ):
        if length < world_size:
            raise ConfigError(
                f"{length} images cannot be evaluated by trainer.devices={world_size} processes; "
                "use at most one process per image"
            )
        self.batches: list[list[Key]] = []
        for _, group in groupby(range(rank, length, world_size), key=lambda index: sizes and sizes[index]):
            keys = [(0, index) for index in group]
            self.batches += [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self.batches)
