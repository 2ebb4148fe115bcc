"""`metrics.csv`: the curves of a run, written whatever other loggers there are.

It has a row for every `trainer.log_every_steps` optimizer steps and one for each evaluation.
"""

import csv
import logging
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from contextseg.files import side_file

log = logging.getLogger(__name__)


class History(Logger):
    """Keep the rows in memory and write the file atomically on `save`.

    `resume(step)` reads the rows of the run before a restart and drops those after `step`.
    """

    def __init__(self, folder: str):
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.rows: dict[int, dict[str, Any]] = {}

    @property
    def name(self) -> str:
        return "history"

    @property
    def version(self) -> str:
        return ""

    @property
    def experiment(self) -> "History":
        return self

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the configuration is in `config.yaml`."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.setdefault(int(step or 0), {}).update(metrics)

    @rank_zero_only
    def resume(self, step: int) -> None:
        """Read the rows up to `step` back from the file; warn of those that are damaged or missing."""
        damaged = 0
        with suppress(FileNotFoundError), self.path.open(newline="", errors="replace") as file:
            for row in csv.DictReader(file):
                try:
                    values = {name: float(text) for name, text in row.items() if text != ""}
                    number = int(values.pop("step"))
                except (TypeError, ValueError, KeyError):  # cut, or changed
                    damaged += 1
                    continue
                if number <= step:
                    self.rows[number] = {name: row[name] for name in values}
        if damaged:
            log.warning("%s: %d rows are damaged and left out of the curves", self.path, damaged)
        steps = [0, *sorted(self.rows)]
        last, widest = steps[-1], max((later - one for one, later in pairwise(steps)), default=0)
        if last < step and last + widest <= step:  # another row is due before the checkpoint
            log.warning("%s ends at step %d, the checkpoint is of step %d: rows are lost", self.path, last, step)

    @rank_zero_only
    def save(self) -> None:
        if not self.rows:
            return
        columns = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        with side_file(self.path) as side, side.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["step", *columns])
            writer.writeheader()
            writer.writerows({"step": step, **row} for step, row in sorted(self.rows.items()))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()
