"""Maps of a backbone in the place of images: of whole images, cropped afterwards."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from contextseg.backbones.feature_cache import Features
from contextseg.contract import IGNORE_INDEX, Batch, Maps
from contextseg.data.dataset import one_size
from contextseg.data.sampler import Key
from contextseg.data.source import Source
from contextseg.data.transforms import random_streams, swap_labels

MapSample = tuple[list[Tensor], Tensor, str]


class MapDataset(Dataset):
    """Read samples by keys (epoch, index), as `KeyedDataset` does, with a backbone's maps instead of the image.

    features    the maps of a whole image and of its mirror image
    crop_size   (height, width) in pixels of the window that is cut from maps and mask; None: all of them
    flip        probability of the mirror image
    flip_pairs  train ids that the mirror image exchanges
    seed        with the key, decides window and mirror image

    A window starts at a multiple of the coarsest stride. What of it lies outside the image is 0 in the maps, void in
    the mask.
    """

    def __init__(
        self,
        source: Source,
        features: Features,
        *,
        crop_size: tuple[int, int] | None = None,
        flip: float = 0,
        flip_pairs: Sequence[tuple[int, int]] = (),
        seed: int = 0,
    ):
        self.source, self.features, self.crop_size = source, features, crop_size
        self.flip, self.flip_pairs, self.seed = flip, flip_pairs, seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: Key) -> MapSample:
        """Return the sample of a key: maps [(C_i, h_i, w_i)], mask uint8 (H, W), name.

        Of a source of clips: [(T, C_i, h_i, w_i)].
        """
        epoch, index = key
        numbers, coins = random_streams((self.seed, epoch, index))
        mirrored = coins.random() < self.flip
        labels, name = self.source.read_mask(index)
        if mirrored:
            labels = swap_labels(np.ascontiguousarray(labels[:, ::-1]), self.flip_pairs)  # torch takes no stride of -1
        mask = torch.from_numpy(labels)
        frames = [self.features.maps(self.source.images, place, mirrored) for place in self.source.places(index)]
        maps = frames[0] if len(frames) == 1 else [torch.stack(level) for level in zip(*frames, strict=True)]
        if self.crop_size is None:
            return maps, mask, name
        coarsest = max(self.features.strides)
        rows, columns = (
            slice(start := coarsest * int(numbers.integers(-(-max(0, side - wanted) // coarsest) + 1)), start + wanted)
            for side, wanted in zip(mask.shape, self.crop_size, strict=True)
        )
        cut = [window(one, rows, columns, stride, 0) for one, stride in zip(maps, self.features.strides, strict=True)]
        return cut, window(mask[None], rows, columns, 1, IGNORE_INDEX)[0], name


def window(values: Tensor, rows: slice, columns: slice, stride: int, outside: int) -> Tensor:
    """Cut a window, in pixels, out of a map (..., h, w) of a stride; `outside` is the value beyond its borders."""
    (top, bottom), (left, right) = ((one.start // stride, -(-one.stop // stride)) for one in (rows, columns))
    part = values[..., top:bottom, left:right]
    missing = (0, right - left - part.shape[-1], 0, bottom - top - part.shape[-2])
    return pad(part, missing, value=outside) if any(missing) else part


def collate_maps(samples: Sequence[MapSample]) -> Batch:
    """Stack samples into a `Batch` of maps. Raises `ConfigError` if their sizes differ."""
    maps, masks, names = zip(*samples, strict=True)
    one_size({tuple(mask.shape) for mask in masks})
    return Batch(Maps(torch.stack(level) for level in zip(*maps, strict=True)), torch.stack(masks), list(names))
