"""The training runs below a folder, and which of them are one configuration but for the seed."""

import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contextseg.runs.configuration import FREE, flatten
from contextseg.runs.folder import RunFolder

# What may differ within a group; unlike in a restart, the number of steps may not.
IGNORED = ("seed", "name", "row", *(option for option in FREE if option != "trainer.max_steps"))


@dataclass
class Run:
    """A training run; `row`: what it stands for in the papers' tables, "<table>/<key>"; `config`: {} if it failed
    before there was one."""

    row: str | None
    config: dict[str, Any]
    metrics: dict[str, Any]

    @property
    def finished(self) -> bool:
        return self.metrics.get("status") == "finished" and "parameters" in self.metrics

    @property
    def failed(self) -> bool:
        return self.metrics.get("status") == "failed"


@dataclass
class Group:
    """The runs of one configuration. `finished`: metrics by seed, of the newest run of each; `failed`: the seeds that
    never finished."""

    config: dict[str, Any]
    finished: dict[int, dict[str, Any]] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)

    @property
    def choices(self) -> dict[str, str]:
        return self.config["choices"]

    @property
    def steps(self) -> int:
        return self.config["trainer"]["max_steps"]

    @property
    def setting(self) -> str:
        """Data, backbone and budget in words."""
        return f"{self.choices['data']}, {self.choices['backbone']}, {self.steps:,} steps"

    def values(self, metric: str) -> list[float]:
        """A metric of the finished runs, by seed; those that lack it are left out."""
        found = (self.finished[seed].get(metric) for seed in sorted(self.finished))
        return [value for value in found if value is not None]


def find(folder: Path) -> list[Run]:
    """The training runs below a folder, the oldest first; scored checkpoints are none."""
    runs = []
    for file in sorted(folder.glob("**/metrics.json"), key=lambda file: file.parent.name):
        place = RunFolder(file.parent)
        metrics = place.read_metrics()
        if "ckpt" in metrics:
            continue
        if (place.path / "config.yaml").is_file():
            config = place.read_config()
            runs.append(Run(config.get("row"), config, metrics))
        else:
            runs.append(Run(row_of(place.path), {}, metrics))
    return runs


def row_of(folder: Path) -> str | None:
    """The row that a sweep made a run folder for, from `<table>/<key>_s<seed>/<date>_<time>`."""
    name = re.fullmatch(r"(.+)_s\d+", folder.parent.name)
    return f"{folder.parent.parent.name}/{name[1]}" if name else None


def grouped(runs: Iterable[Run]) -> list[Group]:
    """Runs with a configuration, by all of it but the seed and what changes no number."""
    groups: dict[tuple, Group] = {}
    for run in runs:
        if not run.config:
            continue
        group = groups.setdefault(settings(run.config), Group(run.config))
        if run.finished:
            group.finished[run.config["seed"]] = run.metrics
        elif run.failed:
            group.failed.add(run.config["seed"])
    for group in groups.values():
        group.failed -= group.finished.keys()
    return list(groups.values())


def settings(config: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The settings of a configuration that change its numbers, the seed left out; null is as good as not there."""
    kept = (
        (key, str(value))
        for key, value in flatten(config).items()
        if value is not None and not any(f"{key}.".startswith(f"{option}.") for option in IGNORED)
    )
    return tuple(sorted(kept))


def mean_sd(values: list[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None if there is one value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None
