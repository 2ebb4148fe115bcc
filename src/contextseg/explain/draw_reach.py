"""Draw which class takes its context from which."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from contextseg import viz
from contextseg.classes import ClassSet
from contextseg.explain.reach import Reach, by_class
from contextseg.lettering import axis_labels
from contextseg.viz import Picture

NUMBERS = 20  # most classes whose cells hold numbers
INK = 55  # percent from which on they are white


def exchange_picture(found: Reach, classes: ClassSet) -> Picture:
    """Draw the matrix of one image as a picture uint8 (H, W, 3)."""
    side = 2.6 + min(0.42 * len(classes), 20)
    figure = Figure(figsize=(side + 0.6, side), dpi=150, layout="constrained")
    draw_exchange(figure.add_subplot(), by_class(found.exchange, found.places), 100 * found.available, classes)
    return viz.rendered(figure)


def draw_exchange(axes: Axes, taken: NDArray, available: NDArray, classes: ClassSet) -> None:
    """Draw from which class each class takes, in percent (K, K), row takes; below, the shares (K,) of equal weights."""
    rows = [*taken, available]
    axes.imshow(rows, cmap="magma_r", vmin=0, vmax=100)
    size = 8 if len(classes) <= NUMBERS else 4
    names = axis_labels(classes.names)
    axes.set_xticks(range(len(classes)), rotation=90, fontsize=size, **names)
    below = names | {"labels": [*names["labels"], "equal weights"]}
    axes.set_yticks(range(len(classes) + 1), fontsize=size, **below)
    axes.axhline(len(classes) - 0.5, color="black", linewidth=1)
    axes.set_xlabel("from", fontsize=size)
    axes.set_ylabel("context of", fontsize=size)
    if len(classes) <= NUMBERS:
        for row, values in enumerate(rows):
            for column, value in enumerate(values):
                if value >= 0.5:  # no NaN either
                    ink = "white" if value > INK else "black"
                    axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=ink)
