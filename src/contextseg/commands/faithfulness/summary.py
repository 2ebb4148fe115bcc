"""What the curves say: areas and their differences to the controls, with intervals over images."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contextseg.commands.faithfulness.options import FaithfulnessOptions
from contextseg.commands.inspection.subjects import Shots
from contextseg.commands.report.intervals import markdown
from contextseg.explain.faithfulness import area
from contextseg.statistics import Difference, Interval, Resampling
from contextseg.statistics.means import ImageNumbers, mean_differences, mean_intervals

KINDS = ("deletion", "insertion")
TOLD = "Deletion: lower is more faithful; insertion: higher. In brackets: 95 % over images."
COMPARED = {  # an order, and those with which it is compared
    "attention": ("random", "nearest", "gradient"),
    "gradient": ("random", "nearest"),
}


@dataclass(frozen=True)
class Findings:
    """The curves of one network.

    curves  by order, float (N, 2, steps + 1): images; deletion, insertion
    names   of the N images, `block`: how many of them hang together (`ImageNumbers`)
    how     the images are resampled
    """

    curves: Mapping[str, NDArray[np.float64]]
    names: tuple[str, ...]
    block: int | None
    how: Resampling

    def numbers(self, values: NDArray[np.float64]) -> ImageNumbers:
        """Return numbers (N, M) of these images."""
        return ImageNumbers(self.names, values, self.block)

    @cached_property
    def bands(self) -> dict[str, list[list[Interval]]]:
        """The mean curves with intervals, by order: of deletion and of insertion, one for each step."""
        found: dict[str, list[list[Interval]]] = {}
        for order, curves in self.curves.items():
            flat = mean_intervals(self.numbers(curves.reshape(len(self.names), -1)), self.how)
            found[order] = [flat[: len(flat) // 2], flat[len(flat) // 2 :]]
        return found

    @cached_property
    def areas(self) -> dict[str, list[Interval]]:
        """The mean areas by order: of deletion and of insertion."""
        return {order: mean_intervals(self.numbers(area(one)), self.how) for order, one in self.curves.items()}

    @cached_property
    def differences(self) -> dict[tuple[str, str], list[Difference]]:
        """Area less area of another order on the same pixels, by both orders: of deletion and of insertion."""
        return {
            (order, other): mean_differences(
                self.numbers(area(self.curves[order]) - area(self.curves[other])), self.how
            )
            for order, others in COMPARED.items()
            for other in others
            if order in self.curves
        }


def table(found: Mapping[str, Findings]) -> str:
    """Write the areas in markdown, and the differences to the controls with their intervals."""
    header = ["network", "order", *(column for curve in KINDS for column in (curve, "less random", "less nearest"))]
    rows = []
    for name, one in found.items():
        for order, areas in one.areas.items():
            cells = [name, order]
            for kind in range(2):
                cells.append(f"{areas[kind].value:.1f}")
                for other in ("random", "nearest"):
                    less = one.differences.get((order, other))
                    cells.append(signed(less[kind]) if less else "")
            rows.append(cells)
    return f"Areas under the curves, %. {TOLD}\n\n{markdown(header, rows)}\n"


def signed(one: Interval) -> str:
    """Write a difference with its interval."""
    return f"{one.value:+.1f} ({one.low:+.1f} to {one.high:+.1f})"


def as_csv(found: Mapping[str, Findings]) -> str:
    """Write areas and differences, one in a line."""
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(["network", "curve", "order", "less", "area", "low", "high", "p", "images"])
    for name, one in found.items():
        for kind, curve in enumerate(KINDS):
            for order, areas in one.areas.items():
                each = areas[kind]
                lines.writerow([name, curve, order, "", *rounded(each), "", len(one.names)])
            for (order, other), differences in one.differences.items():
                each = differences[kind]
                lines.writerow([name, curve, order, other, *rounded(each), round(each.p, 5), len(one.names)])
    return file.getvalue()


def as_json(found: Mapping[str, Findings], options: FaithfulnessOptions, shots: Shots) -> dict[str, Any]:
    """Return all that is needed to draw the picture again: settings, images, curves with intervals, areas by image."""
    names = ("split", "pixels", "steps", "patch", "spare", "masking", "seed", "resamples")
    return {
        "settings": {name: getattr(options, name) for name in names} | {"ckpt": str(options.ckpt)},
        "images": list(shots.names),
        "block": shots.block,
        "shares": np.linspace(0, 1, options.steps + 1).tolist(),
        "networks": {
            name: {
                order: {
                    curve: {
                        "score": [rounded(step) for step in one.bands[order][kind]],
                        "area": rounded(one.areas[order][kind]),
                        "area_by_image": area(one.curves[order][:, kind]).round(3).tolist(),
                    }
                    for kind, curve in enumerate(KINDS)
                }
                for order in one.curves
            }
            for name, one in found.items()
        },
    }


def rounded(one: Interval) -> list[float]:
    """Return the value and both ends to three decimals."""
    return [round(number, 3) for number in (one.value, one.low, one.high)]
