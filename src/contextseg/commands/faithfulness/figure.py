"""The picture of faithfulness: both curves of each network, and what the orders gain over the controls."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from contextseg.commands.faithfulness.summary import KINDS, Findings

COLOURS = {"attention": "#8a2260", "gradient": "#2a6fb0", "nearest": "#c98a2b", "random": "#8a8f98"}
BETTER = ("lower is more faithful", "higher is more faithful")
SHOWN = (("attention", "random"), ("attention", "nearest"), ("gradient", "random"), ("gradient", "nearest"))


def figure(found: Mapping[str, Findings]) -> Figure:
    """Draw a column for each network: deletion, insertion, and differences of areas with intervals over images."""
    drawn = Figure(figsize=(1.4 + 2.3 * len(found), 7), dpi=120, layout="constrained")
    rows = drawn.subplots(3, len(found), squeeze=False, sharey="row", height_ratios=(1, 1, 0.9))
    for column, (name, one) in enumerate(found.items()):
        for kind, curve in enumerate(KINDS):
            draw_curves(rows[kind, column], one, kind)
            if column == 0:
                rows[kind, 0].set_ylabel(f"{curve}: probability, %\n{BETTER[kind]}", fontsize=8)
        rows[0, column].set_title(name, fontsize=8)
        rows[0, column].set_xlabel("% of the patches masked", fontsize=8)
        rows[1, column].set_xlabel("% of the patches seen", fontsize=8)
        draw_differences(rows[2, column], one, first=column == 0)
    for axes in rows.flat:
        axes.tick_params(labelsize=7)
    handles, labels = rows[0, int(np.argmax([len(one.curves) for one in found.values()]))].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    return drawn


def draw_curves(axes: Axes, one: Findings, kind: int) -> None:
    """Draw the curves of all orders, the first one with its intervals."""
    for order, bands in one.bands.items():
        share = np.linspace(0, 100, len(bands[kind]))
        value, low, high = np.array([(step.value, step.low, step.high) for step in bands[kind]]).T
        axes.plot(share, value, color=COLOURS[order], linewidth=1.3, label=order)
        if order == next(iter(one.bands)):  # those of all orders would hide each other, and are of the same images
            axes.fill_between(share, low, high, color=COLOURS[order], alpha=0.15, linewidth=0)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)


def draw_differences(axes: Axes, one: Findings, *, first: bool) -> None:
    """Draw what an order gains over a control: less area in deletion, more in insertion; right of 0 is a gain."""
    for row, pair in enumerate(SHOWN):
        for kind, (marker, sign) in enumerate((("o", -1), ("s", 1))):
            if pair not in one.differences:
                continue
            found = one.differences[pair][kind]
            low, value, high = sorted(sign * number for number in (found.low, found.value, found.high))
            at, filled = row + 0.17 * (2 * kind - 1), COLOURS[pair[0]] if kind else "white"
            axes.plot([low, high], [at, at], color=COLOURS[pair[0]], linewidth=1.2)
            axes.plot(value, at, marker=marker, color=COLOURS[pair[0]], markerfacecolor=filled, markersize=4.5)
    axes.axvline(0, color="black", linewidth=0.7, linestyle=":")
    axes.set_ylim(len(SHOWN) - 0.5, -0.5)
    axes.set_xlabel("gain in area, %\n○ deletion  ■ insertion", fontsize=8)
    if first:  # the row shares its axis
        axes.set_yticks(range(len(SHOWN)), [f"{order}\nover {other}" for order, other in SHOWN])
