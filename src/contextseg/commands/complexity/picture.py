"""Costs as bars: one panel for each figure, one bar for each network, stacked by part."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from contextseg.commands.complexity.network import Cost

COLOURS = {"trunk": "#8a8f98", "neck": "#c98a2b", "head": "#2a6fb0", "aux": "#3f8f4f", "": "#7a4fa0"}
PANELS: dict[str, tuple[float, Callable[[Cost], Mapping[str, float]]]] = {
    "parameters, M": (1e6, lambda cost: cost.parameters),
    "FLOPs of inference, G": (1e9, lambda cost: {part: n for part, n in cost.flops.items() if part != "aux"}),
    "training, float32, MiB": (2**20, lambda cost: cost.training["float32"]),
    "inference, float32, MiB": (2**20, lambda cost: {"": cost.inference["float32"]}),
}


def draw(costs: Sequence[Cost], path: Path) -> None:
    """Draw one network or several, as a PNG."""
    figure = Figure(figsize=(11, 1.5 + 0.35 * len(costs)), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(PANELS), sharey=True)
    for axis, (title, (unit, values)) in zip(axes, PANELS.items(), strict=True):
        for row, cost in enumerate(costs):
            left = 0.0
            for part, value in values(cost).items():
                axis.barh(row, value / unit, left=left, height=0.65, color=COLOURS[part])
                left += value / unit
            axis.text(left, row, f" {left:,.0f}" if left >= 100 else f" {left:,.1f}", va="center", fontsize=7)
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.margins(x=0.22)
        axis.set_xlim(left=0)
    axes[0].set_yticks(range(len(costs)), [cost.name for cost in costs])
    axes[0].invert_yaxis()
    shown = dict.fromkeys(part for cost in costs for part in cost.parameters)
    handles = [axes[0].barh(0, 0, color=COLOURS[part], label=part) for part in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(shown), fontsize=8)
    figure.savefig(path)
