"""The runs on disk: reading them, and grouping those of one configuration, whatever their seed."""

import logging
import re
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contextseg.parts import completed
from contextseg.runs.configuration import FREE_SETTINGS, differences, flatten
from contextseg.runs.folder import RunFolder, Unreadable
from contextseg.typed import shown

# Settings that may differ within a group. Unlike in a restart, the number of steps may not, and the device may: seeds
# of one recipe may come from a CPU and a GPU, whose arithmetic differs by rounding.
IGNORED = ("seed", "row", "trainer.accelerator", *(option for option in FREE_SETTINGS if option != "trainer.max_steps"))

TEXTS = ("status", "split", "protocol", "class_set", "ckpt")  # in metrics.json, as the numbers below
NUMBERS = re.compile(r"seed|steps|seconds|parameters|images_per_second|classes_used|[mf]\w*iou|iou_\w+|\w+_acc(_\w+)?")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run: its folder and the records in it.

    folder   its path
    config   its configuration; {} if the run failed before it was written
    metrics  its `metrics.json`; {} while it runs, or if it was killed
    """

    folder: Path
    config: dict[str, Any]
    metrics: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Read a run folder. Raises `Unreadable` naming the file that is broken, or not that of a training."""
        place = RunFolder(folder)
        metrics = place.read_metrics(strict=True)
        config = place.read_config() if (folder / "config.yaml").is_file() else {}
        run = cls(folder, config, metrics)
        refuse_wrong_kinds(metrics, folder / "metrics.json")
        if config and metrics and run.training and not run.is_configured:
            raise Unreadable(f"{folder / 'config.yaml'} is not the configuration of a training")
        return run

    @property
    def is_configured(self) -> bool:
        """Tell whether its configuration has what tells trainings apart, of the right kinds."""
        kinds = {"seed": int, "choices": dict, "trainer": dict}
        right = all(isinstance(self.config.get(key), kind) for key, kind in kinds.items())
        return right and isinstance(self.steps, int) and isinstance(self.config.get("row"), str | None)

    @property
    def row(self) -> str | None:
        """Return the row of the papers' tables that it stands for, "<table>/<key>"; None if it stands for none."""
        return self.config.get("row") if self.config else row_of(self.folder)

    @property
    def steps(self) -> int | None:
        """Return the number of optimizer steps in its configuration; None if that does not say."""
        trainer = self.config.get("trainer")
        return trainer.get("max_steps") if isinstance(trainer, dict) else None

    @property
    def training(self) -> bool:
        """Tell whether it is a training, not an evaluation."""
        return "ckpt" not in self.metrics

    @property
    def finished(self) -> bool:
        """Tell whether it did all its steps."""
        return self.metrics.get("status") == "finished"

    @property
    def failed(self) -> bool:
        """Tell whether it ended with an error."""
        return self.metrics.get("status") == "failed"

    @property
    def diverged(self) -> bool:
        """Tell whether it failed because its loss or weights became NaN or infinite."""
        return self.failed and str(self.metrics.get("error", "")).startswith("NonFinite:")

    @property
    def saved_at(self) -> float:
        """Return the time of its last checkpoint, in seconds since 1970; 0 if it has none."""
        place = RunFolder(self.folder)
        return place.last_checkpoint.stat().st_mtime if place.has_checkpoint() else 0

    @property
    def seconds_per_step(self) -> float | None:
        """Return the seconds that a step took; None if the run did not finish."""
        steps, seconds = self.metrics.get("steps"), self.metrics.get("seconds")
        return seconds / steps if self.finished and steps and seconds is not None else None

    def stands_for(self, config: dict[str, Any]) -> bool:
        """Tell whether this is the run of a configuration, with its number of steps."""
        return self.steps == config["trainer"]["max_steps"] and not differences(self.config, config)


@dataclass
class Group:
    """The runs of one configuration.

    finished  metrics by seed, of the newest run of each
    failed    the seeds that never finished
    diverged  those of them whose loss or weights became NaN or infinite
    """

    config: dict[str, Any]
    finished: dict[int, dict[str, Any]] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    diverged: set[int] = field(default_factory=set)

    @property
    def choices(self) -> dict[str, str]:
        return self.config["choices"]

    @property
    def steps(self) -> int:
        return self.config["trainer"]["max_steps"]

    @property
    def setting(self) -> str:
        """Return data, backbone and number of steps in words."""
        return f"{self.choices['data']}, {self.choices['backbone']}, {self.steps:,} steps"

    def values(self, metric: str) -> list[float]:
        """Return a metric of the finished runs, by seed; those that lack it are omitted."""
        found = (self.finished[seed].get(metric) for seed in sorted(self.finished))
        return [value for value in found if value is not None]

    def values_by(self, kind: str, protocol: str | None, metric: str) -> list[float]:
        """Return a metric by a protocol of a kind of test, by seed (`by_protocol` of the metrics)."""
        found = (self.finished[seed].get("by_protocol", {}).get(kind, {}) for seed in sorted(self.finished))
        return [scores[protocol][metric] for scores in found if metric in scores.get(protocol, {})]


def refuse_wrong_kinds(metrics: Mapping[str, Any], file: Path) -> None:
    """Raise `Unreadable`, which names the file, if a score in `metrics.json` is no number, or a name no text."""
    for key, value in metrics.items():
        if NUMBERS.fullmatch(key) and (isinstance(value, bool) or not isinstance(value, int | float | None)):
            raise Unreadable(f"{file} says {key}: {shown(value)}, which is no number")
        if key in TEXTS and not isinstance(value, str | None):
            raise Unreadable(f"{file} says {key}: {shown(value)}, which is no text")


def find(folder: Path) -> list[Run]:
    """Return the trainings below a folder, the oldest first.

    One that cannot be read is skipped, with a warning that names the file.
    """
    return [run for run in readable(places(folder)) if run.training]


def places(folder: Path) -> list[Path]:
    """List the run folders below a folder by their name, which is a date: the oldest first."""
    found = {file.parent for name in ("config.yaml", "metrics.json") for file in folder.glob(f"**/{name}")}
    return sorted(found, key=lambda path: (path.name, path))


def readable(folders: Iterable[Path]) -> Iterator[Run]:
    """Yield the runs in these folders; one that cannot be read is skipped, with a warning that names the file."""
    for folder in folders:
        try:
            yield Run.read(folder)
        except Unreadable as error:
            log.warning("skipped a run: %s", error)


def row_of(folder: Path) -> str | None:
    """Return the row in the path of a run folder of a sweep, `<table>/<key>_s<seed>/<date>_<time>`, or None."""
    name = re.fullmatch(r"(.+)_s\d+", folder.parent.name)
    return f"{folder.parent.parent.name}/{name[1]}" if name else None


def grouped(runs: Iterable[Run]) -> list[Group]:
    """Group the runs by the settings that change their scores, except the seed; omit those without configuration."""
    groups: dict[tuple, Group] = {}
    for run in runs:
        if not run.config:
            continue
        group = groups.setdefault(settings(run.config), Group(run.config))
        if run.finished:
            group.finished[run.config["seed"]] = run.metrics
        elif run.failed:
            group.failed.add(run.config["seed"])
            if run.diverged:
                group.diverged.add(run.config["seed"])
    for group in groups.values():
        group.failed -= group.finished.keys()
        group.diverged -= group.finished.keys()
    return list(groups.values())


def settings(config: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """List the settings of a configuration that change its scores, without the seed.

    Null counts as omitted, and what is omitted as the default of the part that takes it.
    """
    return named_settings(completed(config))


def named_settings(config: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """List the settings that a configuration names itself, of those that change its scores, without the seed."""
    kept = (
        (key, str(value))
        for key, value in flatten(config).items()
        if value is not None and not any(f"{key}.".startswith(f"{option}.") for option in IGNORED)
    )
    return tuple(sorted(kept))


def mean_sd(values: list[float]) -> tuple[float, float | None]:
    """Return mean and sample standard deviation, which is None if there is one value."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None
