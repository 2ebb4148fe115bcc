"""Means over the images, with intervals; in a table and in files."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contextseg.classes import ClassSet
from contextseg.commands.attention_statistics.options import AttentionStatisticsOptions
from contextseg.commands.inspection.subjects import Shots
from contextseg.commands.report.intervals import between, markdown
from contextseg.explain.reach import Reach, by_class
from contextseg.statistics import Interval, Resampling
from contextseg.statistics.means import ImageNumbers, mean_intervals


@dataclass(frozen=True)
class Row:
    """What one kind of attention of one network is like.

    distance   mean over the images, in pixels; `uniform`: with equal weights; `relative`: distance in percent of that
    entropy    in percent of that of equal weights
    taken      (K, K), from which class each class takes, in percent of what all its places of all images take
    available  (K,), what equal weights would take, in percent
    """

    title: str
    distance: Interval
    uniform: Interval
    relative: Interval
    entropy: Interval
    taken: NDArray[np.float64]
    available: NDArray[np.float64]


def summarised(title: str, found: Sequence[Reach], shots: Shots, how: Resampling) -> Row:
    """Average over images; the matrix is over all places of all images."""
    values = [(one.distance, one.uniform, 100 * one.distance / one.uniform, one.entropy) for one in found]
    means = mean_intervals(ImageNumbers(shots.names, np.array(values), shots.block), how)
    taken = by_class(np.sum([one.exchange for one in found], 0), np.sum([one.places for one in found], 0))
    distance, uniform, relative, entropy = means
    return Row(title, distance, uniform, relative, entropy, taken, 100 * np.mean([one.available for one in found], 0))


def table(rows: Sequence[Row]) -> str:
    """Write distances and entropies in markdown."""
    header = ["attention", "mean distance, px", "95 % over images", "of equal weights, %", "entropy, %", "95 %"]
    lines = [
        [
            row.title,
            f"{row.distance.value:.0f}",
            between(row.distance),
            f"{row.relative.value:.0f}",
            f"{row.entropy.value:.1f}",
            between(row.entropy),
        ]
        for row in rows
    ]
    told = "Entropy: 100 looks at all places alike, 0 at one."
    return f"{markdown(header, lines)}\n\n{told}\n"


def as_csv(rows: Sequence[Row], classes: ClassSet) -> str:
    """Write one number in a line: those of an attention first, then its cells class by class."""
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(["attention", "number", "class", "from", "value", "low", "high"])
    for row in rows:
        for name in ("distance", "uniform", "relative", "entropy"):
            one = getattr(row, name)
            lines.writerow([row.title, name, "", "", *(f"{value:.4g}" for value in (one.value, one.low, one.high))])
        for i, taker in enumerate(classes.names):
            for j, giver in enumerate(classes.names):
                lines.writerow([row.title, "taken", taker, giver, shown(row.taken[i, j]), "", ""])
        for j, giver in enumerate(classes.names):
            lines.writerow([row.title, "available", "", giver, shown(row.available[j]), "", ""])
    return file.getvalue()


def shown(value: float) -> str:
    """Write a percentage; "" for a class without places."""
    return "" if np.isnan(value) else f"{value:.2f}"


def as_json(
    rows: Sequence[Row], classes: ClassSet, options: AttentionStatisticsOptions, shots: Shots
) -> dict[str, Any]:
    """Return the same numbers with the settings and the images."""
    names = ("split", "classes", "resamples")
    return {
        "settings": {name: getattr(options, name) for name in names} | {"ckpt": str(options.ckpt)},
        "images": list(shots.names),
        "block": shots.block,
        "classes": list(classes.names),
        "attention": {
            row.title: {
                name: [round(value, 3) for value in (one.value, one.low, one.high)]
                for name in ("distance", "uniform", "relative", "entropy")
                for one in [getattr(row, name)]
            }
            | {
                "taken": [[None if np.isnan(value) else round(value, 2) for value in line] for line in row.taken],
                "available": row.available.round(2).tolist(),
            }
            for row in rows
        },
    }
