"""Drawing a comparison: published and ours side by side, each on its own scale.

Rows are bars, or points of a line if they differ in one setting (kernel size, recurrence, descriptors, regions, a loss
weight).
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from contextseg.commands.report.columns import TITLES
from contextseg.commands.report.compare import Comparison, Line
from contextseg.runs.store import mean_sd

THEIRS, OURS, BASE = "#8a8f98", "#2a6fb0", "#c98a2b"
COLOURS = ("#2a6fb0", "#c2571a", "#3f8f4f", "#7a4fa0")
NUMBER = r"\d+(?:\.\d+)?(?:,\d+)*"
SETTING = re.compile(rf",? *(?:\b(?P<name>alpha|beta|N|R|K|k)=(?P<value>{NUMBER})|\b(?P<regions>\d+) regions\b)")
MIN_POINTS = 3  # of a series that is drawn as a line
Values = list[tuple[float, float | None] | None]  # (value, sd) of each row


def draw(comparison: Comparison, path: Path) -> bool:
    """Draw the first metric, ours from runs of one kind; return False, without a file, if no row has a finished run."""
    if not comparison.ran:
        return False
    column, metric = comparison.pairs[0]
    shown = [line for line in comparison.ran if line.kind == comparison.kind and line.values(metric)]
    if not shown:
        return False
    theirs: Values = [(line.published[column], None) if column in line.published else None for line in comparison.lines]
    ours: Values = [mean_sd(line.values(metric)) if line in shown else None for line in comparison.lines]
    settings = dict.fromkeys(line.group.setting for line in shown if line.group)
    sides = [(f"published ({comparison.data})", theirs)] if any(theirs) else []
    sides.append((f"ours ({'; '.join(settings)})", ours))
    series = lines_of(comparison.lines)
    size = (8.5, 3.8) if series else (9.5, 1.2 + 0.32 * len(comparison.lines))
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    axes = figure.subplots(1, len(sides), sharey=not series, squeeze=False)[0]
    for i, (axis, (name, values)) in enumerate(zip(axes, sides, strict=True)):
        if series:
            draw_lines(axis, comparison.lines, series, values)
            axis.set_ylabel(f"{TITLES[metric]}, %")
        else:
            draw_bars(axis, comparison, values, OURS if values is ours else THEIRS)
            axis.set_xlabel(f"{TITLES[metric]}, % (the axis does not begin at 0)")
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=8)
        if i and not series:
            axis.tick_params(left=False)
    if series:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
    figure.savefig(path)
    return True


def draw_bars(axis: Axes, comparison: Comparison, values: Values, colour: str) -> None:
    """Draw a bar per row that has a value, from the top, with its sd, and the base row's value as a line.

    Ours are pale if their runs are those of a row above.
    """
    known = [(row, *value) for row, value in enumerate(values) if value]
    least = min(mean - (sd or 0) for _, mean, sd in known)
    most = max(mean + (sd or 0) for _, mean, sd in known)
    left = max(0.0, math.floor(least - 0.25 * max(most - least, 1)))
    rows, means, _ = zip(*known, strict=True)
    bars = axis.barh(rows, [mean - left for mean in means], left=left, height=0.65, color=colour)
    for row, bar in zip(rows, bars, strict=True):
        if colour == OURS and comparison.lines[row].twin:
            bar.set_alpha(0.4)
    for row, mean, sd in known:
        if sd is not None:
            axis.errorbar(mean, row, xerr=sd, color="black", capsize=2.5, linewidth=1)
        axis.text(mean + (sd or 0), row, f"  {mean:.1f}", va="center", fontsize=7)
    if base := values[comparison.lines.index(comparison.base)]:
        axis.axvline(base[0], color=BASE, linewidth=1, linestyle=":")
    axis.set_xlim(left, most + 0.2 * max(most - left, 1))
    axis.set_yticks(range(len(values)), [line.label for line in comparison.lines])
    axis.set_ylim(len(values) - 0.4, -0.6)


def draw_lines(axis: Axes, lines: Sequence[Line], series: dict[str, dict[int, float]], values: Values) -> None:
    """Draw a line per series over its setting; rows of no series are level lines."""
    colours = dict(zip([*series, *(line.label for line in lines)], COLOURS * len(lines), strict=False))
    for name, places in series.items():
        points = sorted((x, *value) for row, x in places.items() if (value := values[row]))
        if points:
            x, mean, sd = zip(*points, strict=True)
            errors = [value or 0 for value in sd]
            axis.errorbar(x, mean, errors, marker="o", markersize=4, capsize=2.5, color=colours[name], label=name)
    inside = {row for places in series.values() for row in places}
    alone = [(lines[row].label, value[0]) for row, value in enumerate(values) if row not in inside and value]
    for (label, level), style in zip(alone, [":", "--", "-."] * len(lines), strict=False):
        axis.axhline(level, color=THEIRS, linestyle=style, linewidth=1.2, label=label)
    ticks = sorted({x for places in series.values() for x in places.values()})
    if min(ticks) > 0 and max(ticks) / min(ticks) > 12:
        axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axis.minorticks_off()
    axis.set_xlabel(setting_name(lines))


def lines_of(lines: Sequence[Line]) -> dict[str, dict[int, float]]:
    """Find series of rows whose labels differ in one setting alone: series -> {row: setting}.

    {} if no series has `MIN_POINTS`.
    """
    series: dict[str, dict[int, float]] = {}
    for row, line in enumerate(lines):
        if (value := setting(line.label)) is not None:
            series.setdefault(re.sub(r"^, |, $", "", SETTING.sub("", line.label)), {})[row] = value
    series = {name: places for name, places in series.items() if len(set(places.values())) > 1}
    return series if any(len(set(places.values())) >= MIN_POINTS for places in series.values()) else {}


def setting(label: str) -> float | None:
    """Return the last setting in a label, of several kernels the largest; None if there is none."""
    found = list(SETTING.finditer(label))
    return float((found[-1]["value"] or found[-1]["regions"]).split(",")[-1]) if found else None


def setting_name(lines: Sequence[Line]) -> str:
    """Return the name of the setting in which a table's rows differ."""
    found = [match for line in lines for match in [*SETTING.finditer(line.label)][-1:]]
    several = any("," in (match["value"] or "") for match in found)
    return ("largest " if several else "") + (found[0]["name"] or "regions")
