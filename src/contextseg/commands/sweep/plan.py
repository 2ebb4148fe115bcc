"""What a sweep is to run: rows of papers' tables x the command line's own sweeps, less what an earlier sweep did."""

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

from contextseg.commands.sweep.job import finished, given_folder, numbered
from contextseg.conf import CONF
from contextseg.errors import ConfigError
from contextseg.papers import rows as paper_rows
from contextseg.runs.configuration import differences
from contextseg.runs.folder import RunFolder, plain_name

DONE, HALF_DONE, TO_DO = "done", "half done", "to do"
LEAST_STEPS = 200  # of a run that tells how long a step takes: in a shorter one the start weighs too much
EMBEDDED = "context_scenes", "context_scenes_hard"  # the data sets that come with the default recipe
Given = Mapping[str, str]  # key -> override, as one would type it
Compose = Callable[[Sequence[str]], DictConfig]  # overrides -> configuration


@dataclass
class Run:
    """One run of a sweep. `rows`: what it stands for in the papers' tables, "<table>/<key>"."""

    name: str
    overrides: list[str]
    cfg: DictConfig
    folder: Path
    state: str = TO_DO
    rows: list[str] = field(default_factory=list)


@dataclass
class Row:
    """A row of a table with the overrides that the command line leaves of it; `dropped`: those that it does not."""

    table: dict[str, Any]
    label: str
    overrides: list[str]
    dropped: list[str]
    waiting: str | None

    @property
    def id(self) -> str:
        return f"{self.table['table']}/{paper_rows.key(self.label)}"


class Plan:
    """The runs of a command line.

    `sweep`: the folder of this sweep, whose name dates its new runs. With resume=auto a run whose configuration was run
    before is done, or goes on in its folder.
    """

    def __init__(self, command_line: Sequence[Override], compose: Compose, sweep: Callable[[], Path]):
        self.compose, self.sweep = once(compose), cache(sweep)
        plan = {key(override): names(override) for override in command_line if key(override) in ("ablation", "rows")}
        self.tables = tables(plan.get("ablation", []), plan.get("rows"))
        combinations = list(multiplied([override for override in command_line if key(override) not in plan]))
        self.rows = [row for table in self.tables for row in rows_of(table, combinations[0])]
        self.known: dict[Path, dict[str, Any]] = {}  # the configurations of earlier runs
        self.runs: list[Run] = []
        for given in combinations:
            self.add_tables(given) if self.tables else self.add(given)

    def add(self, given: Given) -> None:
        """The run of one combination of an ordinary sweep."""
        cfg = self.compose([*given.values()])
        name = numbered(len(self.runs), cfg)
        overrides = [text for option, text in given.items() if option != "resume"]
        self.enter(Run(name, overrides, cfg, self.sweep() / name), self.sweep().parent)

    def add_tables(self, given: Given) -> None:
        """The runs of all rows with one combination; rows that come to the same configuration share one."""
        shared: dict[str, Run] = {}
        for row in (row for row in self.rows if not row.waiting):
            overrides = [*row.overrides, *recipe(row, given)]
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
            shared[settings] = Run(name, overrides, cfg, parent / self.sweep().name, rows=[row.id])
            self.enter(shared[settings], parent)

    def enter(self, run: Run, parent: Path) -> None:
        """Take a run up, in the folder of an earlier one below `parent` if resume=auto finds it.

        Runs of a row that differ in more than the seed are numbered: _2, _3, ...
        """
        taken, names = {other.folder for other in self.runs}, {other.name for other in self.runs}
        suffixes = itertools.chain([""], (f"_{number}" for number in itertools.count(2)))
        suffix = next(text for text in suffixes if run.name + text not in names)
        run.name, run.folder = run.name + suffix, run.folder.with_name(run.folder.name + suffix)
        if run.cfg.resume and (folder := self.earlier(run.cfg, parent, taken)):
            run.folder, run.state = folder.path, DONE if finished(folder) else HALF_DONE
        run.overrides.append(given_folder(run.folder))
        self.runs.append(run)

    def earlier(self, cfg: DictConfig, parent: Path, taken: set[Path]) -> RunFolder | None:
        """The run of this configuration below a folder: a finished one, else the one whose checkpoint is newest."""
        for file in parent.glob("**/config.yaml"):
            if file.parent not in self.known:
                self.known[file.parent] = RunFolder(file.parent).read_config()
        now = OmegaConf.to_container(cfg, resolve=True)
        same = [
            RunFolder(path)
            for path, before in self.known.items()
            if path.is_relative_to(parent) and path not in taken and same_run(before, now)
        ]
        return max(same, key=lambda folder: (finished(folder), progress(folder)), default=None)

    def to_do(self) -> list[Run]:
        """What is left to run."""
        return [run for run in self.runs if run.state != DONE]

    def seconds(self) -> float | None:
        """Roughly, how long the runs to do compute, from finished runs with their backbone and data; None: unknown."""
        if not self.runs:
            return None
        known = seconds_per_step(Path(self.runs[0].cfg.paths.runs))
        parts = [(known.get(kind(run.cfg.choices)), run.cfg.trainer.max_steps) for run in self.to_do()]
        return None if any(speed is None for speed, _ in parts) else sum(speed * steps for speed, steps in parts)

    def pictures(self) -> Iterator[Table]:
        """A table for each paper's table: its rows, and what becomes of them."""
        for table in self.tables:
            picture = Table(title=f"{table['table']}: {table['source']}. {table['about']}", title_justify="left")
            picture.add_column("row")
            picture.add_column("runs")
            for row in (row for row in self.rows if row.table is table):
                dropped = f" (without {' '.join(row.dropped)})" if row.dropped else ""
                picture.add_row(row.label + dropped, self.fate(row))
            yield picture

    def fate(self, row: Row) -> str:
        """What becomes of a row, in words."""
        if row.waiting:
            return f"not run: {row.waiting}"
        runs = [run for run in self.runs if row.id in run.rows]
        first = next(other for other in self.rows if other.id == runs[0].rows[0])
        if first is row:
            return counts(runs)
        place = "" if first.table is row.table else f" in {first.table['table']}"
        return f"the same configuration as {first.label}{place}, run once"


def tables(names: Sequence[str], patterns: Sequence[str] | None) -> list[dict[str, Any]]:
    """The tables of ablation=, with the rows that match rows=. Raises `ConfigError` if there is none."""
    whole = [paper_rows.table(name) for name in names]
    if patterns is None:
        return whole
    parts = [paper_rows.chosen(table, patterns) for table in whole]
    if not any(table["rows"] for table in parts):
        keys = ", ".join(paper_rows.key(row["row"]) for table in whole for row in table["rows"])
        known = f"these tables have {keys}" if whole else "it chooses rows of ablation=<table>"
        raise ConfigError(f"rows={','.join(patterns)}: no such row; {known}")
    return [table for table in parts if table["rows"]]


def counts(runs: Sequence[Run]) -> str:
    """How many runs are in which state: "2 done, 4 to do"."""
    states = [run.state for run in runs]
    return ", ".join(f"{states.count(state)} {state}" for state in (DONE, HALF_DONE, TO_DO) if state in states)


def once(compose: Compose) -> Compose:
    """`compose` that does its work once for runs that differ in the seed alone."""
    composed = cache(lambda overrides: compose(list(overrides)))

    def with_seed(overrides: Sequence[str]) -> DictConfig:
        seeds = [text for text in overrides if text.startswith("seed=")]
        cfg = composed(tuple(text for text in overrides if text not in seeds))
        return OmegaConf.merge(cfg, OmegaConf.from_dotlist(seeds))

    return with_seed


def key(override: Override) -> str:
    """The group or option that an override sets."""
    return override.key_or_group


def values(override: Override) -> list[str]:
    """The values of an override, one for each job."""
    if override.is_interval_sweep():
        raise ConfigError(f"{override.input_line}: an interval is for hydra/sweeper=optuna; give a list of values")
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    return list(override.sweep_string_iterator())


def names(override: Override) -> list[str]:
    """The values of ablation= or rows=: `a,b`, or the list `[a,b]`, which is no sweep."""
    value = override.value()
    return [str(name) for name in value] if isinstance(value, list) else values(override)


def multiplied(command_line: Sequence[Override]) -> Iterator[Given]:
    """The combinations of all values; of two overrides of one key the later one counts."""
    options = {key(override): texts(override) for override in command_line}
    yield from (dict(zip(options, chosen, strict=True)) for chosen in itertools.product(*options.values()))


def texts(override: Override) -> list[str]:
    """An override as one would type it for each of its values."""
    if not override.is_sweep_override():
        return [override.input_line]
    return [f"{override.get_key_element()}={value}" for value in values(override)]


def rows_of(table: dict[str, Any], given: Given) -> Iterator[Row]:
    """The rows of a table under a command line.

    A group that the command line chooses replaces all that a row says of it; a backbone replaces the neck, too, which
    a row names only where its backbone needs it.
    """
    chosen = [*given, "neck"] if "backbone" in given else [*given]
    for row in table["rows"]:
        overrides = row.get("overrides", [])
        lost = [text for text in overrides if any(within(text.partition("=")[0], name) for name in chosen)]
        kept = [text for text in overrides if text not in lost]
        dropped = [text for text in lost if text.partition("=")[0] not in given]
        yield Row(table, row["row"], kept, dropped, row.get("waiting"))


def within(name: str, group: str) -> bool:
    """Whether an option is a group or lies in it."""
    return f"{name}.".startswith(f"{group}.")


def recipe(row: Row, given: Given) -> list[str]:
    """The data set and the recipe of a row where neither row nor command line names one.

    The embedded data sets come with their recipe, any other with the paper's widths, SGD and poly. Raises `ConfigError`
    if the table's data set is not here, or there are several.
    """
    named = {text.partition("=")[0]: text for text in row.overrides} | dict(given)
    added = []
    if "data" not in named:
        named["data"] = f"data={data_of(row.table)}"
        added = [named["data"]]
    if "experiment" not in named and named["data"] not in [f"data={name}" for name in EMBEDDED]:
        added.append("experiment=none")
    return added


def data_of(table: dict[str, Any]) -> str:
    """The one data set of a table."""
    wanted = table["data"].split(", ")
    known = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
    if len(wanted) == 1 and wanted[0] in known:
        return wanted[0]
    several = f"it was run on several data sets ({table['data']})" if len(wanted) > 1 else ""
    problem = several or f"its data set ({table['data']}) is not one of ours"
    raise ConfigError(
        f"ablation={table['table']}: {problem}; choose one of {', '.join(known)}; to see it run in minutes: "
        f"data={EMBEDDED[0]} backbone=tiny"
    )


def refuse_missing(cfg: DictConfig) -> None:
    """Raises `ConfigError` if the folder of the data is not there: once here, instead of in every job."""
    root = cfg.data.get("root")
    if root is not None and not Path(root).is_dir():
        raise ConfigError(
            f"data.root={root}: no such folder; docs/data.md says how to get {cfg.choices.data}, data.root=PATH says "
            f"where it is; to see the table run in minutes: data={EMBEDDED[0]} backbone=tiny"
        )


def same_run(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a run of one configuration stands for the other: for as many steps, too."""
    steps = [config.get("trainer", {}).get("max_steps") for config in (before, now)]
    return steps[0] == steps[1] and not differences(before, now)


def progress(folder: RunFolder) -> float:
    """When a run was saved last; 0 if never."""
    return folder.last_checkpoint.stat().st_mtime if folder.has_checkpoint() else 0


def kind(choices: Mapping[str, Any]) -> tuple[str, str]:
    """What decides most of the time that a step takes."""
    return choices["backbone"], choices["data"]


def seconds_per_step(runs: Path) -> dict[tuple[str, str], float]:
    """The median over the finished runs below a folder, by backbone and data."""
    found: dict[tuple[str, str], list[float]] = {}
    for file in runs.glob("**/metrics.json"):
        metrics = RunFolder(file.parent).read_metrics()
        enough = metrics.get("steps", 0) >= LEAST_STEPS
        if metrics.get("status") == "finished" and enough and "choices" in metrics:
            found.setdefault(kind(metrics["choices"]), []).append(metrics["seconds"] / metrics["steps"])
    return {name: statistics.median(speeds) for name, speeds in found.items()}
