"""What was scored: configurations of finished runs, on which images and how, each with its seeds."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from contextseg.commands.report.names import configuration_names, meant
from contextseg.errors import ConfigError
from contextseg.runs.store import Run, settings
from contextseg.statistics.image_counts import ImageCounts, file_of

Where = tuple[str, str, str, int | None]


@dataclass
class Scored:
    """One configuration on one set of images.

    name    of the configuration: its row of a paper's table, or what tells it from the others
    where   data set, split, protocol, and after how many steps of training
    config  of its training; None if that is not among the runs
    seeds   the run that scored it, by seed; of several the newest
    """

    name: str
    where: Where
    config: dict[str, Any] | None = None
    seeds: dict[int, Run] = field(default_factory=dict)

    @property
    def scored_on(self) -> str:
        """Where it was scored, in words."""
        data, split, protocol, steps = self.where
        return f"{data} {split}, {protocol}" + ("" if steps is None else f", {steps:,} steps")

    def values(self, metric: str) -> list[float]:
        """Return a metric by seed; those that lack it are omitted."""
        found = (self.seeds[seed].metrics.get(metric) for seed in sorted(self.seeds))
        return [value for value in found if value is not None]

    @cached_property
    def counts(self) -> list[ImageCounts]:
        """The counts of every image, by seed. Raises `ConfigError` where a seed has none, or a damaged file."""
        files = [counts_file(self.seeds[seed]) for seed in sorted(self.seeds)]
        if absent := [file for file in files if not file.is_file()]:
            raise ConfigError(
                f"{len(absent)} of {len(files)} runs have no {absent[0].parent.name}/{absent[0].name}: they are of an "
                "earlier version; evaluate their checkpoints to get it"
            )
        return [ImageCounts.load(file) for file in files]


def counts_file(run: Run) -> Path:
    """Return where the counts of a run's images are, or would be."""
    return file_of(run.folder, run.metrics.get("split", "val"), run.metrics.get("protocol"))


def scored(runs: Sequence[Run]) -> list[Scored]:
    """Gather the finished ones of trainings and evaluations, the oldest first, by configuration and images.

    An evaluation belongs to the training whose checkpoint it scored; where that is not among the runs, it stands for
    itself, by the name of its folder.
    """
    finished = [run for run in runs if run.finished and run.config]
    trainings = [run for run in finished if run.training]
    names = configuration_names(run.config for run in trainings)
    found: dict[tuple[str, Where], Scored] = {}
    for run in finished:
        owner = run if run.training else training_in(Path(run.metrics["ckpt"]).parent.parent, trainings)
        name = names[settings(owner.config)] if owner else "/".join(run.folder.parts[-2:])
        one = found.setdefault((name, where(run)), Scored(name, where(run), owner.config if owner else None))
        one.seeds[owner.config["seed"] if owner else 0] = run
    return sorted(found.values(), key=lambda one: one.scored_on)  # those that may be compared stand together


def where(run: Run) -> Where:
    """Return data set, split, protocol and steps of what a run scored."""
    metrics, choices = run.metrics, run.config.get("choices", {})
    steps = metrics.get("steps") if run.training else metrics.get("trained_steps")
    return choices.get("data", "?"), metrics.get("split", "val"), metrics.get("protocol") or "own", steps


def training_in(folder: Path, trainings: Iterable[Run]) -> Run | None:
    """Return the training that ran in a folder, also where all runs were moved elsewhere since.

    Then it is the one whose folder ends as `folder` does, in two names at least; None if there is none, or if several
    end so in equally many: jobs of one second have folders of one name below different parents.
    """
    shared = {run.folder: same_end(run.folder, folder) for run in trainings}
    longest = max(shared.values(), default=0)
    found = [run for run in trainings if shared[run.folder] == longest]
    return found[0] if longest >= 2 and len(found) == 1 else None


def same_end(one: Path, other: Path) -> int:
    """Count the names in which two paths end alike."""
    pairs = zip(reversed(one.parts), reversed(other.parts), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def chosen(found: Sequence[Scored], against: str) -> list[Scored]:
    """Return what `against` names: a row of a paper's table, a run's folder, or values of the name, such as fcn.

    Raises `ConfigError` unless it is one configuration.
    """
    named = [one for one in found if one.name == against] or [one for one in found if names_it(one, against)]
    names = list(dict.fromkeys(one.name for one in named))
    if len(names) != 1:
        there = " | ".join(dict.fromkeys(one.name for one in found))
        which = f"fits {len(names)} configurations" if names else "is no run here"
        raise ConfigError(f"against={against}: {which}; give one of {there}, a part of it, or a run's folder")
    return [one for one in found if one.name == names[0]]


def names_it(one: Scored, against: str) -> bool:
    """Tell whether `against` means this configuration."""
    if Path(against).resolve() in [run.folder.resolve() for run in one.seeds.values()]:
        return True
    if one.config is None:
        return False
    wanted = {word.strip() for word in against.split(",")}
    return against == one.config.get("row") or wanted <= meant(one.config)
