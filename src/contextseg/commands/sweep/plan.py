"""The plan of a sweep: rows of papers' tables x the sweeps of the command line, less what an earlier sweep did."""

import itertools
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from contextseg.commands.sweep.command_line import Given, combinations, key, names
from contextseg.commands.sweep.job import given_folder, numbered
from contextseg.commands.sweep.rows import Row, completed, refuse_missing, rows_of, tables
from contextseg.runs import store
from contextseg.runs.folder import RunFolder, plain_name
from contextseg.runs.lock import alone
from contextseg.runs.store import Run

DONE, HALF_DONE, TO_DO = "done", "half done", "to do"
MIN_STEPS = 200  # of a run from which the time of a step is estimated: the start of a shorter one weighs too much
Compose = Callable[[Sequence[str]], DictConfig]  # overrides -> configuration


@dataclass
class PlannedJob:
    """A job of a sweep.

    settings  its overrides, without that of its folder
    folder    where it runs, and `parent`: below which earlier runs of it lie
    rows      the rows of the papers' tables that it stands for, "<table>/<key>"
    """

    name: str
    settings: list[str]
    cfg: DictConfig
    folder: Path
    parent: Path
    state: str = TO_DO
    rows: list[str] = field(default_factory=list)

    @property
    def overrides(self) -> list[str]:
        """Return the command line of the job."""
        return [*self.settings, given_folder(self.folder)]

    def go_on(self, run: Run) -> None:
        """Take the place of an earlier run of this configuration."""
        self.folder, self.state = run.folder, DONE if run.finished else HALF_DONE if run.saved_at else TO_DO


class Plan:
    """Collect the jobs of a command line.

    `sweep`: the folder of this sweep, whose name dates its new runs. With resume=auto a job whose configuration was run
    before is done, or continues in the folder of that run.
    """

    def __init__(self, command_line: Sequence[Override], compose: Compose, sweep: Callable[[], Path]):
        self.compose, self.sweep = once(compose), cache(sweep)
        asked = {key(override): names(override) for override in command_line if key(override) in ("ablation", "rows")}
        self.tables = tables(asked.get("ablation", []), asked.get("rows"))
        options = combinations([override for override in command_line if key(override) not in asked])
        self.rows = [row for table in self.tables for row in rows_of(table, options[0])]
        self.known: dict[Path, Run | None] = {}  # folder -> run; None: it could not be read
        self.jobs: list[PlannedJob] = []
        for given in options:
            self.add_tables(given) if self.tables else self.add(given)

    def add(self, given: Given) -> None:
        """Add the job of one combination of an ordinary sweep."""
        cfg = self.compose([*given.values()])
        name = numbered(len(self.jobs), cfg)
        overrides = [text for option, text in given.items() if option != "resume"]
        self.enter(PlannedJob(name, overrides, cfg, self.sweep() / name, self.sweep().parent))

    def add_tables(self, given: Given) -> None:
        """Add the jobs of all rows with one combination; rows of the same configuration share one."""
        shared: dict[str, PlannedJob] = {}
        for row in (row for row in self.rows if not row.instead):
            overrides = completed(row, given)
            cfg = self.compose([*overrides, *given.values()])
            refuse_missing(cfg)
            settings = json.dumps(OmegaConf.to_container(cfg, resolve=True), sort_keys=True)
            if settings in shared:
                shared[settings].rows.append(row.id)
                continue
            name = f"{row.id}_s{cfg.seed}"
            above = plain_name(cfg.name) if "name" in given else "ablations"
            cfg = OmegaConf.merge(cfg, {"name": f"{above}/{name}", "row": row.id})
            overrides += [text for option, text in given.items() if option not in ("resume", "name")]
            overrides += [f"name={cfg.name}", f"row={row.id}"]
            parent = Path(cfg.paths.runs).resolve() / cfg.name
            shared[settings] = PlannedJob(name, overrides, cfg, parent / self.sweep().name, parent, rows=[row.id])
            self.enter(shared[settings])

    def enter(self, job: PlannedJob) -> None:
        """Add a job, in the folder of an earlier run if resume=auto finds one.

        Jobs of a row that differ in more than the seed are numbered: _2, _3, ...
        """
        names = {other.name for other in self.jobs}
        suffixes = itertools.chain([""], (f"_{number}" for number in itertools.count(2)))
        suffix = next(text for text in suffixes if job.name + text not in names)
        job.name, job.folder = job.name + suffix, job.folder.with_name(job.folder.name + suffix)
        if run := self.earlier(job):
            job.go_on(run)
        self.jobs.append(job)

    def earlier(self, job: PlannedJob) -> Run | None:
        """Find the run of a job, if it may go on: a finished one, else that with the newest checkpoint."""
        if not job.cfg.resume:
            return None
        taken = {other.folder for other in self.jobs if other is not job}
        now = OmegaConf.to_container(job.cfg, resolve=True)
        same = [run for run in self.runs(job.parent) if run.folder not in taken and run.stands_for(now)]
        return max(same, key=lambda run: (run.finished, run.saved_at), default=None)

    def claim(self) -> None:
        """Give every new job its folder, by its configuration, before one starts.

        Another sweep with resume=auto then finds it there, and the lock of the folder decides who runs it. A job that
        another sweep has claimed since this plan was made goes on in the folder of that one.
        """
        for job in self.to_do():
            if (job.folder / "config.yaml").is_file():
                continue
            with alone(job.parent):
                if run := self.earlier(job):
                    job.go_on(run)
                else:
                    job.folder.mkdir(parents=True, exist_ok=True)
                    RunFolder(job.folder).write_config(OmegaConf.to_container(job.cfg, resolve=True))

    def runs(self, folder: Path) -> list[Run]:
        """Return the runs below a folder. Each is read once, so a broken one gets one warning."""
        places = store.places(folder)
        unknown = [place for place in places if place not in self.known]
        self.known |= dict.fromkeys(unknown) | {run.folder: run for run in store.readable(unknown)}
        return [run for place in places if (run := self.known[place])]

    def to_do(self) -> list[PlannedJob]:
        """Return the jobs that are left to run."""
        return [job for job in self.jobs if job.state != DONE]

    def seconds(self) -> float | None:
        """Estimate how long the jobs to do compute, from finished runs with their backbone and data; None: unknown."""
        if not self.jobs:
            return None
        known = seconds_per_step(self.runs(Path(self.jobs[0].cfg.paths.runs).resolve()))
        parts = [(known.get(kind(job.cfg.choices)), job.cfg.trainer.max_steps) for job in self.to_do()]
        return None if any(speed is None for speed, _ in parts) else sum(speed * steps for speed, steps in parts)

    def pictures(self) -> Iterator[Table]:
        """Draw a table for each paper's table: its rows, and the state of their jobs."""
        for table in self.tables:
            picture = Table(title=f"{table['table']}: {table['source']}. {table['about']}", title_justify="left")
            picture.add_column("row")
            picture.add_column("jobs")
            for row in (row for row in self.rows if row.table is table):
                dropped = f" (without {' '.join(row.dropped)})" if row.dropped else ""
                picture.add_row(row.label + dropped, self.fate(row))
            yield picture

    def fate(self, row: Row) -> str:
        """Describe the state of a row in words."""
        if row.instead:
            return f"not run: {row.instead}"
        jobs = [job for job in self.jobs if row.id in job.rows]
        first = next(other for other in self.rows if other.id == jobs[0].rows[0])
        if first is row:
            return counts(jobs)
        place = "" if first.table is row.table else f" in {first.table['table']}"
        return f"the same configuration as {first.label}{place}, run once"


def counts(jobs: Sequence[PlannedJob]) -> str:
    """Count the jobs in each state, in words: "2 done, 4 to do"."""
    states = [job.state for job in jobs]
    return ", ".join(f"{states.count(state)} {state}" for state in (DONE, HALF_DONE, TO_DO) if state in states)


def once(compose: Compose) -> Compose:
    """Return `compose` with a cache, so that it works once for jobs that differ in the seed alone."""
    composed = cache(lambda overrides: compose(list(overrides)))

    def with_seed(overrides: Sequence[str]) -> DictConfig:
        seeds = [text for text in overrides if text.startswith("seed=")]
        cfg = composed(tuple(text for text in overrides if text not in seeds))
        return OmegaConf.merge(cfg, OmegaConf.from_dotlist(seeds))

    return with_seed


def kind(choices: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return backbone and data set, which decide most of the time of a step."""
    return choices.get("backbone"), choices.get("data")


def seconds_per_step(runs: Sequence[Run]) -> dict[tuple[Any, Any], float]:
    """Return the median seconds per step of finished runs of `MIN_STEPS` or more, by backbone and data set."""
    found: dict[tuple[Any, Any], list[float]] = {}
    for run in runs:
        if run.training and run.seconds_per_step is not None and run.metrics["steps"] >= MIN_STEPS:
            found.setdefault(kind(run.metrics.get("choices", {})), []).append(run.seconds_per_step)
    return {name: statistics.median(speeds) for name, speeds in found.items()}
