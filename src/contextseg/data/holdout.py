"""A part of the training split that is kept back: what a setting may be chosen by, without the validation split."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from contextseg.data.source import Sample, Source
from contextseg.statistics.sequences import apart, in_sequences


class Subset(Source):
    """Give some samples of a source, by their indices there."""

    def __init__(self, source: Source, indices: Sequence[int]):
        super().__init__(source.num_classes)
        self.source, self.indices = source, list(indices)
        self.unpaired, self.labelled = source.unpaired, source.labelled  # type: ignore[misc]
        self.frames, self.drawn = source.frames, source.drawn

    def __len__(self) -> int:
        return len(self.indices)

    def load(self, index: int) -> Sample:
        return self.source.load(self.indices[index])

    def read(self, index: int) -> Sample:
        return self.source.read(self.indices[index])

    def read_mask(self, index: int) -> tuple[np.ndarray, str]:
        return self.source.read_mask(self.indices[index])

    def read_clip(self, index: int) -> Sample:
        return self.source.read_clip(self.indices[index])

    @property
    def images(self) -> Source:
        return self.source.images

    def places(self, index: int) -> Sequence[int]:
        return self.source.places(self.indices[index])

    def name(self, index: int) -> str:
        return self.source.name(self.indices[index])

    def where(self, index: int) -> str:
        return self.source.where(self.indices[index])

    def files(self, index: int) -> tuple[Path, Path] | None:
        return self.source.files(self.indices[index])

    def size(self, index: int) -> tuple[int, int] | None:
        return self.source.size(self.indices[index])

    def fingerprint(self, index: int) -> str:
        return self.source.fingerprint(self.indices[index])


def split_off(source: Source, share: float, frames: bool) -> tuple[Subset, Subset]:
    """Split a source into what is trained on and the `share` that is kept back.

    Of frames the last of every sequence are kept back, because neighbours show the same; of other images every n-th.
    """
    size = len(source)
    order, begin, length = in_sequences([source.name(index) for index in range(size)]) if frames else apart(size)
    if frames:
        kept = np.arange(size) - begin >= length - np.round(length * share)
    else:
        kept = np.diff(np.floor(np.arange(size + 1) * share + 1e-9)) > 0
    return Subset(source, sorted(order[~kept].tolist())), Subset(source, sorted(order[kept].tolist()))
