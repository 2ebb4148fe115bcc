"""Samples by their keys, and batches of samples."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from contextseg.contract import Batch
from contextseg.data.sampler import Key
from contextseg.data.source import Source
from contextseg.errors import ConfigError

Transform = Callable[[np.ndarray, np.ndarray, tuple[int, ...]], tuple[np.ndarray, np.ndarray]]


class KeyedDataset(Dataset):
    """Read a source by keys (epoch, index). The same key and seed give the same pixels in any process.

    Without a transform the epoch has no effect.
    """

    def __init__(self, source: Source, *, transform: Transform | None = None, seed: int = 0):
        self.source = source
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor, str]:
        """Return the sample of a key (epoch, index): image uint8 (3, H, W), mask uint8 (H, W), name.

        Of a source of clips: uint8 (T, 3, H, W).
        """
        epoch, index = key
        image, mask, name = self.source.read_clip(index)
        if self.transform is not None:
            image, mask = self.transform(image, mask, (self.seed, epoch, index))
        # a copy: torch takes no mirror image of one pixel, a mere view
        planes = np.array(np.moveaxis(image, -1, -3), order="C")
        return torch.from_numpy(planes), torch.from_numpy(np.array(mask, order="C")), name


def collate(samples: Sequence[tuple[Tensor, Tensor, str]]) -> Batch:
    """Stack samples into a `Batch`. Raises `ConfigError` if their sizes differ."""
    images, masks, names = zip(*samples, strict=True)
    one_size({tuple(mask.shape) for mask in masks})
    return Batch(torch.stack(images), torch.stack(masks), list(names))


def one_size(sizes: Iterable[tuple[int, ...]]) -> None:
    """Raise `ConfigError` if there are different sizes (height, width)."""
    found = sorted(sizes)
    if len(found) > 1:
        raise ConfigError(
            f"images of {len(found)} sizes, such as {found[0]} and {found[-1]} (height, width), cannot share a batch; "
            "set eval.batch_size=1 for evaluation, data.transform.crop_size for training"
        )
