"""The picture of the fields: a map for each network on one scale, then how much lies within which radius."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from contextseg.commands.receptive_field.summary import SHARES, Row

COLUMNS = 3  # maps in a row
SIDE, BELOW = 3.6, 3.4  # inches: width of a map, height of the curves
DECADES = 6  # of the scale of the maps, below the largest energy
COLOURS = ("#2a6fb0", "#c2571a", "#3f8f4f", "#7a4fa0", "#c9a227", "#5b6470")
STYLES = ("-", "--", ":", "-.")  # of circles, and of further networks than there are colours


def figure(rows: Sequence[Row]) -> Figure:
    """Draw all networks."""
    columns = min(COLUMNS, max(2, len(rows)))
    lines = -(-len(rows) // columns)
    height, width = rows[0].field.energy.shape
    tall = lines * (SIDE * height / width + 0.45)
    drawn = Figure(figsize=(columns * SIDE, tall + BELOW), dpi=120, layout="constrained")
    parts = drawn.subfigures(2, 1, height_ratios=(tall, BELOW))
    assert isinstance(parts, np.ndarray)
    above, below = parts
    most = max(row.field.energy.max() for row in rows)
    norm = LogNorm(most * 10.0**-DECADES, most, clip=True)
    grid = np.ravel(above.subplots(lines, columns, squeeze=False))
    shown = [draw_map(place, row, norm) for place, row in zip(grid, rows, strict=False)]
    for place in grid[len(rows) :]:
        place.set_axis_off()
    bar = above.colorbar(shown[0], ax=list(grid), shrink=0.8, pad=0.01)
    bar.set_label("share of the energy in a pixel", fontsize=7)
    bar.ax.tick_params(labelsize=6)
    draw_curves(below.subplots(), rows)
    return drawn


def draw_map(place: Axes, row: Row, norm: LogNorm) -> AxesImage:
    """Draw the field of a network, in pixels from the pixel, with a circle for each share of the energy."""
    (y, x), (height, width) = row.field.pixel, row.field.energy.shape
    sides = (-x - 0.5, width - x - 0.5, height - y - 0.5, -y - 0.5)
    shown = place.imshow(row.field.energy, norm=norm, cmap="magma", extent=sides)
    for radius, style in zip(row.radius, STYLES, strict=False):
        ring = Circle(row.field.centre[::-1], radius.value, fill=False, color="white", linestyle=style, linewidth=1.2)
        ring.set_path_effects([withStroke(linewidth=2.4, foreground="black", alpha=0.5)])
        place.add_patch(ring)
    held = [f"{share:.0%} within {one.value:.0f} px" for share, one in zip(SHARES, row.radius, strict=True)]
    place.set_title(f"{row.title}: {', '.join(held)}", fontsize=8)
    place.set(xlim=sides[:2], ylim=sides[2:])
    place.tick_params(labelsize=6)
    return shown


def draw_curves(axis: Axes, rows: Sequence[Row]) -> None:
    """Draw the share of the energy within each distance, and that of pixels which all count alike."""
    radii = np.arange(max(int(row.field.distances().max()) for row in rows) + 2)
    for number, row in enumerate(rows):
        turn, colour = divmod(number, len(COLOURS))
        style = STYLES[turn % len(STYLES)]
        axis.plot(radii, 100 * row.field.within(radii), color=COLOURS[colour], linestyle=style, label=row.title)
    field = rows[0].field
    even = field._replace(energy=np.full_like(field.energy, 1 / field.energy.size))
    axis.plot(radii, 100 * even.within(radii), color="#8a8f98", linewidth=1, linestyle="--", label="all pixels alike")
    axis.set(xlim=(0, radii[-1]), ylim=(0, 101))
    axis.set_xlabel("distance, pixels", fontsize=8)
    axis.set_ylabel("energy within, %", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.grid(color="#e4e4e8")
    axis.legend(fontsize=7, loc="lower right")
