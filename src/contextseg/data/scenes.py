"""A source of generated scenes."""

from functools import partial

import numpy as np

from contextseg.data.source import Sample, Source, digest

SEEDS = {"train": 1, "val": 2, "test": 3}  # of the splits


class Scenes(Source):
    """`count` scenes of a seed, drawn by `draw(seed, index)` when first read, then kept (uint8).

    `draw` is a partial whose keywords, together with seed and index, decide everything.
    """

    def __init__(self, draw: partial, *, seed: int, count: int, num_classes: int):
        super().__init__(num_classes)
        self.draw, self.seed, self.count = draw, seed, count
        self.settings = repr(sorted(draw.keywords.items()))
        self._drawn: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return self.count

    def load(self, index: int) -> Sample:
        if index not in self._drawn:
            self._drawn[index] = self.draw(self.seed, index)
        return *self._drawn[index], f"scene_{self.seed}_{index:05d}"

    def fingerprint(self, index: int) -> str:
        """Of what decides the scene; no need to draw it."""
        return digest(f"({self.settings}, {self.seed}, {index})".encode())
