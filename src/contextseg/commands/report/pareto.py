"""Score against cost: a panel for parameters, FLOPs and milliseconds each, and what nothing beats at its cost."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from contextseg.commands.report.costs import Costs, Measured
from contextseg.commands.report.costs_table import Place, places, scored, title
from contextseg.commands.report.labels import place_labels
from contextseg.commands.report.names import configuration_names
from contextseg.commands.report.scored import Scored
from contextseg.runs.store import mean_sd, settings

BEST, OTHER, WORDS = "#2a6fb0", "#8a8f98", "#444444"
PANELS: dict[str, Callable[[Costs], float]] = {
    "parameters, M": lambda costs: costs.parameters / 1e6,
    "FLOPs of one image, G": lambda costs: costs.flops / 1e9,
    "forward, ms": lambda costs: costs.ms,
}


@dataclass(frozen=True)
class Point:
    """A configuration with its costs and its mIoU over seeds; `sd` is None for one seed."""

    name: str
    costs: Costs
    mean: float
    sd: float | None


def draw(found: Sequence[Scored], measured: Measured, folder: Path) -> dict[str, Path]:
    """Draw a picture for each data set, split and protocol where two configurations with costs were scored.

    Those that an earlier report drew are deleted. Returns the files by their titles.
    """
    for old in folder.glob("pareto_*.png"):
        old.unlink()
    drawn = {}
    for place in places(found):
        if len(points := points_at(place, found, measured)) > 1:
            path = folder / f"pareto_{'_'.join(place).replace('/', '-')}.png"
            draw_place(points, measured, title(place), path)
            drawn[f"mIoU and cost: {title(place)}"] = path
    return drawn


def points_at(place: Place, found: Sequence[Scored], measured: Measured) -> list[Point]:
    """Return the configurations that have costs and were scored at a place, by names that tell these apart."""
    there = [(costs, scored(found, costs.name, place)) for costs in measured.costs if costs.fault is None]
    known = [(costs, one) for costs, one in there if one and one.config]
    configs = [one.config for _, one in known if one.config]
    names = configuration_names(configs)
    labels = without_tables([names[settings(config)] for config in configs])
    means = [mean_sd(one.values("miou")) for _, one in known]
    return [Point(label, costs, *mean) for label, (costs, _), mean in zip(labels, known, means, strict=True)]


def without_tables(names: Sequence[str]) -> list[str]:
    """Cut the table off names of rows, "real_images/heads/fcn", unless two would then be the same."""
    cut = [re.sub(r"^[^ ]*/", "", name) for name in names]
    return [short if cut.count(short) == 1 else name for short, name in zip(cut, names, strict=True)]


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return which points (cost, score) no other beats: a better score at no higher cost; by cost."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    best, found = float("-inf"), []
    for i in order:
        if points[i][1] > best:
            best = points[i][1]
            found.append(i)
    return found


def draw_place(points: Sequence[Point], measured: Measured, where: str, path: Path) -> None:
    """Draw the panels of one place."""
    height = min(9.0, 3.6 + 0.12 * len(points))
    figure = Figure(figsize=(11, height), dpi=130, layout="constrained")
    axes = figure.subplots(1, len(PANELS), sharey=True)
    low = min(point.mean - (point.sd or 0) for point in points)
    high = max(point.mean + (point.sd or 0) for point in points)
    for axis, (label, cost) in zip(axes, PANELS.items(), strict=True):
        draw_panel(axis, points, [cost(point.costs) for point in points])
        axis.set_xlabel(label, fontsize=9)
        axis.set_ylim(low - 0.12 * (high - low or 1), high + 0.12 * (high - low or 1))
    axes[0].set_ylabel(f"mIoU, % ({where})", fontsize=9)
    size = "x".join(map(str, measured.size))
    told = f"{where}: mean ± sd over seeds. Blue: nothing is better at that cost. Images of {size}, ms on "
    figure.suptitle(f"{told}{measured.times.machine}", fontsize=9)
    FigureCanvasAgg(figure).draw()
    figure.set_layout_engine("none")  # it is final now, as labels need it
    for axis, cost in zip(axes, PANELS.values(), strict=True):
        places = [(cost(point.costs), point.mean) for point in points]
        best = front(places)
        colours = [BEST if i in best else WORDS for i in range(len(points))]
        place_labels(axis, places, [point.name for point in points], colours)
    figure.savefig(path)


def draw_panel(axis: Axes, points: Sequence[Point], costs: Sequence[float]) -> None:
    """Draw the points of a panel, with their sd, and the front as steps."""
    best = front([(cost, point.mean) for cost, point in zip(costs, points, strict=True)])
    axis.set_xscale("log")
    low, high = min(costs), max(costs)
    margin = max((high / low) ** 0.15, 1.1)
    axis.set_xlim(low / margin, high * margin)
    for i, (cost, point) in enumerate(zip(costs, points, strict=True)):
        colour = BEST if i in best else OTHER
        axis.errorbar(cost, point.mean, point.sd or 0, color=colour, marker="o", markersize=4, elinewidth=0.7)
    steps = [(costs[i], points[i].mean) for i in best]
    steps.append((high * margin, steps[-1][1]))
    axis.plot(*zip(*steps, strict=True), drawstyle="steps-post", color=BEST, linewidth=1, alpha=0.6, zorder=0)
    near = high / low < 6  # so near that powers of ten say nothing
    axis.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]) if near else LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.grid(alpha=0.2)
    axis.tick_params(labelsize=8)
