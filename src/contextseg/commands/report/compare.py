"""Comparing a table of a paper with our runs: the same columns, rows and base row, and the agreement of orders."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from contextseg.commands.report.columns import columns_of, compared
from contextseg.commands.report.kendall import Agreement, agreement
from contextseg.commands.report.protocols import ENDINGS, KINDS, shown
from contextseg.commands.report.rows import chosen_instead, without
from contextseg.errors import ConfigError
from contextseg.papers import rows as paper_rows
from contextseg.runs.store import Group, Run, grouped, mean_sd, settings

VARYING = {"head", "loss", "neck", "aux_head", "backbone", "choices"}  # settings in which the rows of a table differ


Counted = Mapping[str, Mapping[str, str]]  # label of a row -> column -> our number, in words


@dataclass
class Choice:
    """The choice of runs: `steps` and `data` None for any; a run of fewer than `least_steps` is a trial and omitted."""

    least_steps: int = 0
    steps: int | None = None
    data: str | None = None


@dataclass
class Line:
    """A row as published and as run.

    over       the row to which the paper's `delta` is; None: the base row
    test       "ss" or "ms": the kind of test that gave its values; None: that of the training, or of the column
    protocols  by kind of test, the option of `eval=` whose scores are shown
    twin       a row above with the same runs
    trials     the steps of trial runs
    diverged   groups of which no run finished, and one at least became NaN
    """

    label: str
    published: dict[str, Any]
    note: str | None = None
    over: str | None = None
    overrides: list[str] = field(default_factory=list)
    test: str | None = None
    protocols: dict[str, str | None] = field(default_factory=dict)
    group: Group | None = None
    others: list[Group] = field(default_factory=list)
    failed: int = 0
    trials: list[int] = field(default_factory=list)
    twin: str | None = None
    diverged: list[Group] = field(default_factory=list)

    @property
    def successes(self) -> str:
        """Return how many of our runs kept a finite loss, "9 of 10"; those that failed otherwise do not count."""
        group = self.group or next(iter(self.diverged), None)
        return f"{len(group.finished)} of {len(group.finished) + len(group.diverged)}" if group else ""

    @property
    def kind(self) -> tuple | None:
        """Return the settings that comparable rows share: all but their method, and a backbone of the row's own."""
        if self.group is None:
            return None
        common = tuple(item for item in settings(self.group.config) if item[0].partition(".")[0] not in VARYING)
        backbone = self.group.choices["backbone"]
        own = f"backbone={backbone}" in self.overrides
        return common, self.group.config["backbone"].get("weights"), None if own else backbone

    @property
    def backbone(self) -> str | None:
        """Return the override of the row's own backbone; None if it has none."""
        return next((text for text in self.overrides if text.startswith("backbone=")), None)

    @property
    def method(self) -> list[str]:
        """Return the overrides of the row without its backbone."""
        return [text for text in self.overrides if not text.startswith("backbone=")]

    @property
    def lost(self) -> list[str]:
        """Return the overrides of the row, except the backbone, that its runs replaced by other options."""
        if not self.group:
            return []
        kept = without(self.overrides, chosen_instead(self.overrides, self.group.choices))
        return [text for text in self.overrides if text not in kept and not text.startswith("backbone=")]

    @property
    def scores(self) -> tuple[int, str | None]:
        """Return what tells the scores of rows apart: runs and test."""
        return id(self.group), self.test

    def values(self, metric: str) -> list[float]:
        """Return our values, by seed; of "miou_ms", those of the multi-scale test."""
        if not self.group:
            return []
        name, _, kind = metric.rpartition("_") if metric.endswith(ENDINGS) else (metric, "", self.test)
        if kind is None:
            return self.group.values(name)
        return self.group.values_by(kind, self.protocols.get(kind), name)

    @property
    def state(self) -> str:
        if self.group:
            return "finished"
        return "failed" if self.failed else "not run"


@dataclass
class Comparison:
    """A table with `pairs` of a published column and our metric.

    beside   all other published columns (`beside.ours_beside`)
    counted  our costs by row
    quoted   rows that the paper quotes: label and values
    """

    name: str
    source: str
    about: str
    data: str
    base: Line
    lines: list[Line]
    pairs: list[tuple[str, str]]
    beside: list[str]
    quoted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    counted: Counted = field(default_factory=dict)

    @property
    def ran(self) -> list[Line]:
        """Return the rows with finished runs."""
        return [line for line in self.lines if line.group]

    @property
    def kind(self) -> tuple | None:
        """Return the most frequent kind, whose rows are compared; of several, that of the base row."""
        kinds = Counter(line.kind for line in self.ran)
        return max(kinds, key=lambda kind: (kinds[kind], kind == self.base.kind), default=None)

    def base_of(self, line: Line) -> Line:
        """Return the base row, with the backbone of this row if there is one."""
        same = (other for other in self.lines if other.method == self.base.method and other.backbone == line.backbone)
        return self.base if line.backbone == self.base.backbone else next(same, self.base)

    def published_difference(self, line: Line, column: str) -> float | None:
        """Return the difference of the published values to the base row; None if one is missing."""
        base = self.base_of(line)
        if line is base or column not in line.published or column not in base.published:
            return None
        return line.published[column] - base.published[column]

    def our_difference(self, line: Line, metric: str, base: Line | None = None) -> tuple[float, float | None] | None:
        """Return the difference of our means to a row, by default the base row, and its standard error.

        None across data sets and budgets, and if the scores are those of that row.
        """
        base = base or self.base_of(line)
        mine, its = line.values(metric), base.values(metric)
        if not mine or not its or line.kind != base.kind or line.scores == base.scores:
            return None
        (mean, sd), (base_mean, base_sd) = mean_sd(mine), mean_sd(its)
        error = None if sd is None or base_sd is None else math.sqrt(sd**2 / len(mine) + base_sd**2 / len(its))
        return mean - base_mean, error

    def comparable(self, column: str, metric: str) -> list[Line]:
        """Return the rows that have both values, run as published and of one kind, each run counted once.

        If ours ran with a backbone that is not the rows' own, only rows with one backbone in the paper are comparable:
        published values of several would mix two effects. It is the backbone of most rows; of several, the base row's.
        """
        lines = [line for line in self.ran if column in line.published and line.values(metric) and not line.lost]
        lines = [line for line in lines if line.kind == self.kind]
        if any(line.kind and line.kind[-1] is not None for line in lines):
            backbones = Counter(line.backbone for line in lines)
            best = max(backbones, key=lambda backbone: (backbones[backbone], backbone == self.base.backbone))
            lines = [line for line in lines if line.backbone == best]
        return list({line.scores: line for line in reversed(lines)}.values())[::-1]

    def agreement(self, column: str, metric: str) -> Agreement | None:
        """Measure how far our means order the rows as the published values do; None if there are too few rows."""
        lines = self.comparable(column, metric)
        return agreement([line.published[column] for line in lines], [line.values(metric) for line in lines])


def compare(
    table: Mapping[str, Any], runs: Mapping[str, Sequence[Run]], choice: Choice, counted: Counted | None = None
) -> Comparison:
    """Compare a table of `paper_rows` with the runs of its rows, "<table>/<key>" -> runs, and with our costs."""
    lines: list[Line] = []
    tested = any("test" in row for row in table["rows"])
    for row in table["rows"]:
        found = runs.get(f"{table['table']}/{paper_rows.key(row['row'])}", [])
        facts = (row["row"], row["published"], row.get("note"), row.get("over"), row["overrides"])
        line = with_runs(Line(*facts, test=row.get("test", "ss" if tested else None)), found, choice)
        same = (above for above in lines if line.group and above.group and same_runs(above.group, line.group))
        if above := next(same, None):
            line.twin, line.group = above.label, above.group
        lines.append(line)
    scored = [metrics for line in lines if line.group for metrics in line.group.finished.values()]
    protocols = {kind: shown(table.get("multi_scale"), scored, kind) for kind in KINDS}
    for line in lines:
        line.protocols = protocols
    pairs = compared(table, {line.group.choices["data"] for line in lines if line.group})
    beside = [column for column in columns_of(table) if column not in dict(pairs)]
    quoted = [(row["row"], row["published"]) for row in paper_rows.quoted().get(table["table"], [])]
    about = (table["table"], table["source"], table["about"], table["data"], base_row(table, lines), lines)
    return Comparison(*about, pairs, beside, quoted, counted or {})


def with_runs(line: Line, runs: Sequence[Run], choice: Choice) -> Line:
    """Give a row the group of most steps (then, most seeds) among those of the choice; return the row."""
    groups = grouped(runs)
    line.trials = sorted({group.steps for group in groups if group.steps < choice.least_steps})
    groups = [
        group
        for group in groups
        if group.steps >= choice.least_steps
        and choice.steps in (None, group.steps)
        and choice.data in (None, group.choices["data"])
    ]
    finished = [group for group in groups if group.finished]
    finished.sort(key=lambda group: (group.steps, len(group.finished)), reverse=True)
    line.diverged = [group for group in groups if not group.finished and group.diverged]
    line.group, line.others = (finished[0], finished[1:]) if finished else (None, [])
    before = sum(run.failed and not run.config for run in runs)  # they failed before they had a configuration
    line.failed = len(line.group.failed) if line.group else sum(len(group.failed) for group in groups) + before
    return line


def same_runs(one: Group, other: Group) -> bool:
    """Tell whether two groups are one configuration."""
    return settings(one.config) == settings(other.config)


def base_row(table: Mapping[str, Any], lines: Sequence[Line]) -> Line:
    """Return the row that the others are compared with: the one that the table names, else the first."""
    named = table.get("base", lines[0].label)
    for line in lines:
        if line.label == named:
            return line
    raise ConfigError(f"conf/ablation/{table['table']}.yaml: base: {named}: no such row; give the label of a row")
