"""The numbers of the fields, in a table and in files."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contextseg.commands.inspection.subjects import Shots
from contextseg.commands.receptive_field.options import ReceptiveFieldOptions
from contextseg.commands.report.intervals import between, markdown
from contextseg.explain.field import Field
from contextseg.statistics import Interval

SHARES = (0.5, 0.9)  # of the energy, whose radii are reported


@dataclass(frozen=True)
class Row:
    """What the field of one network is like.

    field   mean over the images
    radius  means over the images: the radius in pixels that holds each of `SHARES`
    within  percent of the energy within each radius of `radii=`
    """

    title: str
    field: Field
    radius: tuple[Interval, ...]
    within: tuple[Interval, ...]

    @property
    def box(self) -> tuple[int, int]:
        """Return width and height in pixels of the smallest box around all pixels that the score depends on."""
        rows, columns = np.nonzero(self.field.energy)
        return int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1

    def numbers(self, radii: Sequence[int]) -> dict[str, Interval]:
        """Return its numbers by name."""
        shares = {f"radius_{share:.0%}".rstrip("%"): one for share, one in zip(SHARES, self.radius, strict=True)}
        return shares | {f"within_{radius}": one for radius, one in zip(radii, self.within, strict=True)}


def table(rows: Sequence[Row], radii: Sequence[int]) -> str:
    """Write the numbers in markdown."""
    header = ["network"]
    for share in SHARES:
        header += [f"radius of {share:.0%}, px", "95 % over images"]
    header += [*(f"within {radius} px, %" for radius in radii), "box, px"]
    lines = []
    for row in rows:
        cells = [text for one in row.radius for text in (f"{one.value:.0f}", between(one))]
        lines.append([row.title, *cells, *(f"{one.value:.1f}" for one in row.within), "{} x {}".format(*row.box)])
    told = "Energy: the squared gradient. Box: around all pixels with any, width x height."
    return f"{markdown(header, lines)}\n\n{told}\n"


def as_csv(rows: Sequence[Row], radii: Sequence[int]) -> str:
    """Write one number in a line."""
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(["network", "number", "value", "low", "high"])
    for row in rows:
        for name, one in row.numbers(radii).items():
            lines.writerow([row.title, name, *(f"{value:.5g}" for value in (one.value, one.low, one.high))])
        for name, side in zip(("box_width", "box_height"), row.box, strict=True):
            lines.writerow([row.title, name, side, "", ""])
    return file.getvalue()


def as_json(rows: Sequence[Row], options: ReceptiveFieldOptions, shots: Shots) -> dict[str, Any]:
    """Return the same numbers with the settings and the images."""
    names = ("split", "point", "radii", "noise", "resamples")
    return {
        "settings": {name: getattr(options, name) for name in names} | {"ckpt": str(options.ckpt)},
        "images": list(shots.names),
        "block": shots.block,
        "networks": {
            row.title: {
                name: [round(value, 3) for value in (one.value, one.low, one.high)]
                for name, one in row.numbers(options.radii).items()
            }
            | {"box": row.box}
            for row in rows
        },
    }
