"""`metrics.csv`: the curves of a run, written whatever other loggers there are.

It has a row for every `trainer.log_every_steps` optimizer steps and one for each evaluation.
"""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from contextseg.files import side_file


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
        """Read the rows up to `step` back from the file."""
        if self.path.exists():
            with self.path.open(newline="") as file:
                for row in csv.DictReader(file):
                    number = int(row.pop("step"))
                    if number <= step:
                        self.rows[number] = {name: text for name, text in row.items() if text}

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
