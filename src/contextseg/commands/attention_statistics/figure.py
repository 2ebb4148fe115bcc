"""The picture of the statistics: distances and entropies with their intervals, then a matrix for each attention."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from contextseg.classes import ClassSet
from contextseg.commands.attention_statistics.summary import Row
from contextseg.explain.draw_reach import draw_exchange
from contextseg.statistics import Interval

COLUMNS = 3  # matrices in a row
INK, PALE = "#8a2260", "#8a8f98"


def figure(rows: Sequence[Row], classes: ClassSet) -> Figure:
    """Draw all attentions of all networks."""
    columns = min(COLUMNS, max(2, len(rows)))
    lines = -(-len(rows) // columns)
    top, side = 1 + 0.28 * len(rows), 1.8 + min(0.27 * len(classes), 12)
    drawn = Figure(figsize=(columns * side * 1.05, top + lines * (side + 0.3)), dpi=120, layout="constrained")
    parts = drawn.subfigures(2, 1, height_ratios=(top, lines * (side + 0.3)))
    assert isinstance(parts, np.ndarray)
    above, below = parts
    axes = above.subplots(1, 2, sharey=True)
    measures = (("distance", "mean distance, pixels (|: equal weights)"), ("entropy", "entropy, % of equal weights"))
    for place, (name, title) in zip(axes, measures, strict=True):
        for line, row in enumerate(rows):
            one: Interval = getattr(row, name)
            place.plot([one.low, one.high], [line, line], color=INK, linewidth=1.5)
            place.plot(one.value, line, "o", color=INK, markersize=4)
            if name == "distance":
                place.plot(row.uniform.value, line, "|", color=PALE, markersize=11, markeredgewidth=2)
        place.set_xlim(left=0)
        place.set_xlabel(title, fontsize=8)
        place.tick_params(labelsize=8)
        place.grid(axis="x", color="#e4e4e8")
    axes[0].set_yticks(range(len(rows)), [row.title for row in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    axes[1].set_xlim(0, 102)
    grid = np.ravel(below.subplots(lines, columns, squeeze=False))
    for place, row in zip(grid, rows, strict=False):
        draw_exchange(place, row.taken, row.available, classes)
        place.set_title(row.title, fontsize=9)
    for place in grid[len(rows) :]:
        place.set_axis_off()
    return drawn
