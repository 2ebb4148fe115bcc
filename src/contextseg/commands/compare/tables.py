"""The numbers of a comparison as CSV files, unrounded where they are counts."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contextseg.classes import ClassSet
from contextseg.commands.compare.predictions import Predictions
from contextseg.commands.compare.regions import regions
from contextseg.files import side_file
from contextseg.statistics.iou import iou


def write(found: Predictions, classes: ClassSet, least: float, folder: Path) -> None:
    """Write images.csv, regions.csv, classes.csv and confusion.csv."""
    names = found.networks
    as_csv(folder / "images.csv", *images(found))
    header = ["image", "network", "against", "kind", "x", "y", "width", "height", "pixels", "truth", "against_says"]
    as_csv(folder / "regions.csv", [*header, "network_says"], every_region(found, classes, least))
    scores = by_class(found)
    as_csv(
        folder / "classes.csv",
        ["class", *(f"iou_{name}" for name in names)],
        ([name, *(number(value) for value in scores[:, k])] for k, name in enumerate(classes.names)),
    )
    cells = np.stack([counts.confusion for counts in found.counts])  # (networks, K, K)
    as_csv(
        folder / "confusion.csv",
        ["truth", "prediction", *(f"pixels_{name}" for name in names)],
        ([classes.names[t], classes.names[p], *cells[:, t, p].tolist()] for t, p in np.argwhere(cells.any(0)).tolist()),
    )


def images(found: Predictions) -> tuple[list[str], Iterable[Sequence[Any]]]:
    """Return header and rows of images.csv."""
    header, columns = ["image", "pixels"], [found.names, found.pixels.tolist()]
    for number_, name in enumerate(found.networks):
        header += [f"pix_acc_{name}", f"miou_{name}"]
        columns += [list(map(number, found.accuracy(number_))), list(map(number, found.miou(number_)))]
    for other, name in enumerate(found.networks[1:], 1):
        header += [f"gained_{name}", f"lost_{name}"]
        columns += found.changed(other).T.tolist()
    return header, zip(*columns, strict=True)


def every_region(found: Predictions, classes: ClassSet, least: float) -> Iterable[Sequence[Any]]:
    """Yield the rows of regions.csv."""
    for place, image in enumerate(found.names):
        truth, first, *others = found.labels(place)
        for name, other in zip(found.networks[1:], others, strict=True):
            for one in regions(truth, first, other, least):
                said = (classes.names[k] for k in (one.truth, one.first, one.other))
                yield [image, name, found.networks[0], one.kind, *one.box, one.pixels, *said]


def by_class(found: Predictions) -> np.ndarray:
    """Compute the IoU of every network and class over all images (networks, K), percent; NaN where there is none."""
    totals = np.stack([counts.totals.sum(0) for counts in found.counts]).astype(float)
    with np.errstate(invalid="ignore"):
        return iou(*np.moveaxis(totals, -1, 0))


def number(value: float) -> str:
    """Write a score with four digits; "" for none."""
    return "" if np.isnan(value) else f"{value:.4f}"


def as_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a file, atomically."""
    with side_file(path) as side, side.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
