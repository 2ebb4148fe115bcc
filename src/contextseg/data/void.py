"""Void that is perhaps a class: masks of 0 and 255 that nobody said to be void."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contextseg.contract import IGNORE_INDEX

MUCH = 0.01  # share of the pixels; of two classes, any void beside a class without a pixel is much
MAX_NAMED = 6  # classes that the proposed ids list


def pixels_by_class(mask: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the pixels of each class and, last, of void in a mask uint8 (H, W): int64 (K + 1)."""
    counts = np.bincount(mask.ravel(), minlength=256)
    return counts[[*range(num_classes), IGNORE_INDEX]]


def is_doubtful(pixels: Sequence[int] | np.ndarray) -> bool:
    """Tell whether a class has no pixel beside much void; `pixels`: by class, void last."""
    *classes, void = pixels
    return not all(classes) and void > 0 and (len(classes) == 2 or void >= MUCH * sum(pixels))


@dataclass(frozen=True)
class Undeclared:
    """A class file that does not say what label 255 is. `labels`: raw label -> train id."""

    file: Path
    labels: Mapping[int, int]

    def doubt(self, pixels: Sequence[int] | np.ndarray, names: Sequence[str]) -> str:
        """Say that void may be the class without a pixel in train, and what to write into the file then."""
        absent = [name for name, count in zip(names, pixels, strict=False) if not count]
        there = [f"{label}: {names[number]}" for label, number in self.labels.items() if names[number] not in absent]
        ids = ", ".join([*there[:MAX_NAMED], *(["..."] if len(there) > MAX_NAMED else []), f"255: {absent[0]}"])
        return (
            f"no pixel of {', '.join(absent)} in train, and {100 * pixels[-1] / sum(pixels):.2g} % of its pixels are "
            f"255, which is void unless {self.file} says otherwise; write there ids: {{{ids}}} if 255 is a class, or "
            "ignore: [255] if it is void"
        )
