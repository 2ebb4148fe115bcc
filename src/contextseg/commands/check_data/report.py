"""The results of a check: the numbers of each split, the faults, and the verdict."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contextseg.classes import ClassSet
from contextseg.commands.check_data.faults import Fault, Seen
from contextseg.data.void import Undeclared, is_doubtful

VOID = "void"  # the name of the ignored pixels in tables
MAX_SIZES = 3  # that are named; report.json has all


@dataclass
class Counts:
    """The numbers of one split.

    sizes     "width x height" -> images
    pixels    by class, void last
    shown_in  images that show the class, void last
    """

    images: int
    sizes: dict[str, int]
    pixels: list[int]
    shown_in: list[int]

    def in_words(self) -> str:
        """Write the number of images and their most frequent sizes."""
        sizes = [f"{size} ({images})" for size, images in list(self.sizes.items())[:MAX_SIZES]]
        more = f" and {len(self.sizes) - MAX_SIZES} sizes more" if len(self.sizes) > MAX_SIZES else ""
        return f"{self.images} images, {', '.join(sizes)}{more}"

    def shares(self) -> np.ndarray:
        """Return the percentage of the pixels that each class has, void last."""
        return 100 * np.array(self.pixels) / max(sum(self.pixels), 1)


@dataclass
class Report:
    """The results of a check, and their folder. Errors come first among the faults."""

    data: str
    classes: ClassSet
    splits: dict[str, Counts]
    faults: list[Fault]
    folder: Path

    @property
    def errors(self) -> list[Fault]:
        """Return the faults that prevent training."""
        return [fault for fault in self.faults if fault.level == "error"]

    @property
    def trainable(self) -> bool:
        """Tell whether there are no errors."""
        return not self.errors

    @property
    def names(self) -> list[str]:
        """Return the names of the classes, void last."""
        return [*self.classes.names, VOID]

    def verdict(self) -> str:
        """Write in one line whether the data set is fit for training."""
        errors = len(self.errors)
        found = f"{number(errors, 'error')}, {number(len(self.faults) - errors, 'warning')}"
        return f"{self.data}: {'fit' if self.trainable else 'not fit'} for training; {found}"

    def groups(self) -> dict[tuple[str, str], list[Fault]]:
        """Return the faults by (level, kind), errors first."""
        found: dict[tuple[str, str], list[Fault]] = {}
        for fault in self.faults:
            found.setdefault((fault.level, fault.kind), []).append(fault)
        return found

    def class_table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows: for each class and split, its share of the pixels and the images that show it."""
        header = ["class", *(f"{split} {what}" for split in self.splits for what in ("% of pixels", "images"))]
        shares = [counts.shares() for counts in self.splits.values()]
        rows = [
            [
                name,
                *(
                    cell
                    for share, counts in zip(shares, self.splits.values(), strict=True)
                    for cell in (f"{share[i]:.2f}", str(counts.shown_in[i]))
                ),
            ]
            for i, name in enumerate(self.names)
        ]
        return header, rows

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON holds it."""
        splits = {
            split: {
                "images": counts.images,
                "sizes": counts.sizes,
                "pixels": dict(zip(self.names, counts.pixels, strict=True)),
                "shown_in": dict(zip(self.names, counts.shown_in, strict=True)),
            }
            for split, counts in self.splits.items()
        }
        faults = [asdict(fault) for fault in self.faults]
        return {"data": self.data, "trainable": self.trainable, "splits": splits, "faults": faults}


def number(count: int, word: str) -> str:
    """Write a number of things: "1 error", "2 errors"."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def counted(pairs: Sequence[Seen], classes: ClassSet) -> Counts:
    """Count the pairs of one split that could be read."""
    pixels = np.array([pair.pixels for pair in pairs if pair.pixels is not None]).reshape(-1, len(classes) + 1)
    sizes = Counter(f"{pair.size[0]}x{pair.size[1]}" for pair in pairs if pair.size)
    return Counts(len(pairs), dict(sizes.most_common()), pixels.sum(0).tolist(), (pixels > 0).sum(0).tolist())


def never_seen(splits: Mapping[str, Counts], classes: ClassSet, undeclared: Undeclared | None = None) -> list[Fault]:
    """Return a warning for the classes without a pixel in the training split; an error if void may be one of them."""
    if "train" not in splits or not any(splits["train"].pixels):
        return []
    if undeclared is not None and is_doubtful(splits["train"].pixels):
        return [Fault("error", "class", undeclared.doubt(splits["train"].pixels, classes.names), [])]
    absent = [name for name, pixels in zip(classes.names, splits["train"].pixels, strict=False) if not pixels]
    text = f"no pixel of {', '.join(absent)} in train, so no network can learn it"
    return [Fault("warning", "class", text, [])] if absent else []
