"""Labels beside points that cover neither each other nor a point."""

import math
import operator
from collections.abc import Iterable, Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox

LETTERS = 8  # pt
STEP, MOST = 7, 40  # px between the distances from a point that are tried, and their number
DIRECTIONS = (40, -40, 140, -140, 0, 180, 70, -70, 110, -110, 90, -90)  # degrees; beside steps and error bars first
OUTLINED = 1.04  # how much wider letters are with an outline, which are drawn unhinted
DOT = 4  # px around a point that stay free
Spot = tuple[float, float]  # px


def place_labels(axis: Axes, points: Sequence[Spot], labels: Sequence[str], colours: Sequence[str]) -> list[Text]:
    """Write a label near each point (x, y) where it is free, with a line to the point if it is not next to it.

    The layout of the figure must be final. Points in a crowd choose first. A label that is free nowhere stands where it
    covers least.
    """
    canvas = FigureCanvasAgg(axis.figure)
    renderer = canvas.get_renderer()
    inside, to_axes = axis.get_window_extent(renderer).padded(-2), axis.transAxes.inverted().transform
    centres = [(float(x), float(y)) for x, y in axis.transData.transform(points)]
    dots = [Bbox.from_bounds(x - DOT, y - DOT, 2 * DOT, 2 * DOT) for x, y in centres]
    taken: list[Bbox] = []
    texts: dict[int, Text] = {}
    for i in sorted(range(len(points)), key=lambda i: crowd(centres, i)):
        (x, y), colour = centres[i], colours[i]
        text = axis.text(0, 0, labels[i], fontsize=LETTERS, color=colour, transform=axis.transAxes)
        text.set_path_effects([withStroke(linewidth=2, foreground="white", alpha=0.8)])
        size = text.get_window_extent(renderer)
        near = [moved_into(inside, spot) for spot in spots(x, y, OUTLINED * size.width, size.height)]
        covered = (overlap(spot, [*taken, *dots]) for spot in near)
        spot = near[first_least(covered)]
        text.set_position(tuple(to_axes((spot.x0, spot.y0))))
        text.set_verticalalignment("bottom")
        end = min(max(x, spot.x0), spot.x1), min(max(y, spot.y0), spot.y1)
        if math.dist((x, y), end) > 2 * STEP:
            line = to_axes([(x, y), end])
            axis.plot(*line.T, color=colour, linewidth=0.5, alpha=0.6, transform=axis.transAxes, zorder=1)
        taken.append(spot)
        texts[i] = text
    return [texts[i] for i in range(len(points))]


def crowd(centres: Sequence[Spot], i: int) -> float:
    """Return the sum of the distances from a point to its three nearest."""
    return sum(sorted(math.dist(centres[i], other) for other in centres)[:4])


def spots(x: float, y: float, width: float, height: float) -> Iterator[Bbox]:
    """Yield boxes around a point, the nearest first."""
    for distance in range(STEP, STEP * (MOST + 1), STEP):
        for direction in DIRECTIONS:
            dx, dy = math.cos(math.radians(direction)), math.sin(math.radians(direction))
            left = x + distance * dx - width * beyond(-dx)
            bottom = y + distance * dy - height * beyond(-dy)
            yield Bbox.from_bounds(left, bottom, width, height)


def beyond(slope: float) -> float:
    """Return the share of a label before its point: none or all of it, half of it if it is straight above."""
    return 0.5 if abs(slope) < 0.1 else float(slope > 0)


def moved_into(inside: Bbox, spot: Bbox) -> Bbox:
    """Move a box into the panel; one that is wider begins at its left edge."""
    left = max(inside.x0, min(spot.x0, inside.x1 - spot.width))
    bottom = max(inside.y0, min(spot.y0, inside.y1 - spot.height))
    return Bbox.from_bounds(left, bottom, spot.width, spot.height)


def overlap(spot: Bbox, taken: Sequence[Bbox]) -> float:
    """Return the area of a box that others cover, px²."""
    width = (max(0.0, min(spot.x1, other.x1) - max(spot.x0, other.x0)) for other in taken)
    height = (max(0.0, min(spot.y1, other.y1) - max(spot.y0, other.y0)) for other in taken)
    return sum(map(operator.mul, width, height))


def first_least(values: Iterable[float]) -> int:
    """Return the index of the first 0, or if there is none of the least value."""
    best, least = 0, math.inf
    for index, value in enumerate(values):
        if value < least:
            best, least = index, value
        if value == 0:
            break
    return best
