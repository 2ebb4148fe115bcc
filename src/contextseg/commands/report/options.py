"""The options of `report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le, MinLen

from contextseg.door import REQUIRED, group, option
from contextseg.engine.options import Node
from contextseg.errors import ConfigError
from contextseg.typed import Count, Natural


@dataclass
class ReportOptions:
    """Set the papers' tables beside our runs: mean and spread over seeds, figures, one HTML page.

    contextseg report runs=runs/ablations
    contextseg report runs=runs against=fcn     differences to that one, with intervals and p-values
    contextseg report runs=runs costs=[360,480]     parameters, FLOPs, ms, memory, and a picture of score against cost
    Writes a .md, .tex, .csv and .png for each table, report.html, runs.md for the runs of no row, and statistics.md:
    spread over seeds, intervals over images (docs/statistics.md).
    """

    runs: Path = option(REQUIRED, "a folder that holds run folders, at any depth")
    output: Path | None = option(None, "a folder; null: <runs>/report")
    tables: str | Annotated[list[str], MinLen(1)] | None = option(
        None, "of the papers, such as [ctnet_t5,agln_t4]; null: all"
    )
    least_steps: Natural | None = option(1000, "shorter runs are trials: their row counts as not run")
    steps: Natural | None = option(None, "runs with this max_steps; null: a row's longest")
    columns: list[str] = option(
        ["miou", "pix_acc", "iou_context", "iou_pole", "far_acc"], "of the table of other runs: keys of metrics.json"
    )
    learnt: dict[str, float] = option(
        {"iou_scene": 70, "iou_furniture": 70}, "a run missed a fact when one of these scores is below its number"
    )
    against: str | None = option(
        None, "compare with this one: a row as <table>/<row>, a run's folder, or what tells it apart, such as fcn"
    )
    block: Count | None = option(
        None, "consecutive frames of a video that are resampled together for intervals; null: the data set's number"
    )
    blocks: list[Count] = option([1, 5, 15, 30], "block lengths whose intervals are set side by side, for videos")
    costs: tuple[Count, Count] | None = option(
        None, "height, width of an image, such as [360,480]: costs of the networks beside scores; null: none"
    )
    resamples: Annotated[int, Ge(100), Le(1_000_000)] = option(10_000, "of the images, for intervals and p-values")
    data: Node = group(None, "of several data sets, the one whose runs are shown")
    choices: dict[str, str] = option({}, "filled in")

    def __post_init__(self) -> None:
        """Refuse contradictory steps, a file as output, and runs that do not exist."""
        least = self.least_steps or 0
        if self.steps is not None and self.steps < least:
            raise ConfigError(
                f"steps={self.steps}: runs below least_steps={least} are trials; give least_steps={self.steps} too"
            )
        if self.output and self.output.suffix in (".md", ".html", ".tex", ".csv"):
            raise ConfigError(f"output={self.output}: the report is several files; give a folder")
        if not self.runs.is_dir():
            raise ConfigError(f"runs={self.runs}: no such folder; give one that holds run folders")
