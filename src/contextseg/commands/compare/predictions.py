"""The labels that several networks give to the images of a split, kept packed, and their counts."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from contextseg.contract import IGNORE_INDEX
from contextseg.statistics import ImageCounts
from contextseg.statistics.iou import iou

Labels = NDArray[np.uint8]  # (H, W)


@dataclass
class Predictions:
    """The labels of every image by every network.

    networks  their names; the first is compared with
    indices   of the images in the split, N
    block     as in `ImageCounts`
    """

    networks: list[str]
    num_classes: int
    indices: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    block: int | None = None
    _packed: list[list[tuple[bytes, tuple[int, ...]]]] = field(default_factory=list)  # of an image: truth, predictions
    _cells: list[list[NDArray[np.int64]]] = field(default_factory=list)  # of an image, by network (M, 3)
    _changed: list[list[tuple[int, int]]] = field(default_factory=list)  # of an image, by other network

    def add(self, index: int, name: str, truth: Labels, labels: Sequence[Labels]) -> None:
        """Keep an image: its truth (H, W), and the labels (H, W) by each network."""
        valid = truth != IGNORE_INDEX
        right = [(one == truth) & valid for one in labels]
        self.indices.append(index)
        self.names.append(name)
        self._packed.append([(zlib.compress(one.tobytes(), 1), one.shape) for one in (truth, *labels)])
        self._cells.append([cells(truth[valid], one[valid], self.num_classes) for one in labels])
        self._changed.append([(int((r & ~right[0]).sum()), int((right[0] & ~r).sum())) for r in right[1:]])

    def labels(self, number: int) -> list[Labels]:
        """Return the truth of an image, then the labels by each network, each (H, W)."""
        return [np.frombuffer(zlib.decompress(one), np.uint8).reshape(shape) for one, shape in self._packed[number]]

    @cached_property
    def counts(self) -> list[ImageCounts]:
        """The counts of every image, by network."""
        return [self._counts(number) for number in range(len(self.networks))]

    def _counts(self, network: int) -> ImageCounts:
        found = [np.insert(cells[network], 0, number, axis=1) for number, cells in enumerate(self._cells)]
        return ImageCounts(tuple(self.names), self.num_classes, np.concatenate(found), self.block)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Labelled pixels of every image (N,)."""
        return self.counts[0].totals[..., 1].sum(1)

    def accuracy(self, network: int) -> NDArray[np.float64]:
        """Return the pixel accuracy of every image (N,), percent; NaN without labelled pixels."""
        with np.errstate(invalid="ignore"):
            return 100 * self.counts[network].totals[..., 0].sum(1) / self.pixels

    def miou(self, network: int) -> NDArray[np.float64]:
        """Return the mean IoU of every image (N,), over the classes of its truth and prediction, percent."""
        with np.errstate(invalid="ignore"):
            found = iou(*np.moveaxis(self.counts[network].totals.astype(float), -1, 0))  # (N, K)
        there = ~np.isnan(found)
        return np.where(there, found, 0).sum(1) / np.maximum(there.sum(1), 1)

    def changed(self, other: int) -> NDArray[np.int64]:
        """Return the pixels of every image that another network (1, 2, ...) gains and loses to the first: (N, 2)."""
        return np.array([one[other - 1] for one in self._changed]).reshape(-1, 2)


def cells(truth: Labels, labels: Labels, num_classes: int) -> NDArray[np.int64]:
    """Count pairs of labels, each (n,) -> (M, 3): truth, prediction, pixels; sorted, without zeros."""
    found = np.bincount(truth.astype(np.int64) * num_classes + labels, minlength=num_classes**2)
    places = np.flatnonzero(found)
    return np.column_stack([places // num_classes, places % num_classes, found[places]])
