"""The rows of the papers' tables that a command line asks for, and their overrides under it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from contextseg.commands.sweep.command_line import Given
from contextseg.conf import options_of
from contextseg.errors import ConfigError
from contextseg.papers import rows as paper_rows

EMBEDDED = "context_scenes", "context_scenes_hard", "context_clips"  # the data sets that come with the default recipe


@dataclass
class Row:
    """A row of a table with those of its overrides that the command line keeps, and those that it `dropped`.

    `instead`: what runs it if that is not `train`; None if it is.
    """

    table: dict[str, Any]
    label: str
    overrides: list[str]
    dropped: list[str]
    instead: str | None

    @property
    def id(self) -> str:
        """Return its name in run folders, "<table>/<key>"."""
        return f"{self.table['table']}/{paper_rows.key(self.label)}"


def tables(names: Sequence[str], patterns: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return the tables of ablation=, with the rows that match rows=. Raises `ConfigError` if there is none."""
    whole = [paper_rows.table(name) for name in names]
    if patterns is None:
        return whole
    parts = [paper_rows.chosen(table, patterns) for table in whole]
    if not any(table["rows"] for table in parts):
        keys = ", ".join(paper_rows.key(row["row"]) for table in whole for row in table["rows"])
        known = f"these tables have {keys}" if whole else "it chooses rows of ablation=<table>"
        raise ConfigError(f"rows={','.join(patterns)}: no such row; {known}")
    return [table for table in parts if table["rows"]]


def rows_of(table: dict[str, Any], given: Given) -> Iterator[Row]:
    """Yield the rows of a table under a command line.

    A group that the command line chooses replaces all overrides of the row in it. A backbone replaces the neck, too,
    because a row names a neck only where its backbone needs it.
    """
    chosen = [*given, "neck"] if "backbone" in given else [*given]
    for row in table["rows"]:
        overrides = row["overrides"]
        lost = [text for text in overrides if any(within(text.partition("=")[0], name) for name in chosen)]
        kept = [text for text in overrides if text not in lost]
        dropped = [text for text in lost if text.partition("=")[0] not in given]
        other = f"use contextseg {table['command']} {' '.join(overrides)}" if "command" in table else None
        yield Row(table, row["row"], kept, dropped, other)


def within(name: str, group: str) -> bool:
    """Tell whether an option is a group or lies in it."""
    return f"{name}.".startswith(f"{group}.")


def completed(row: Row, given: Given) -> list[str]:
    """Return the overrides of a row, with data set and recipe if neither row nor command line names one.

    An experiment other than `none` brings its data set. The embedded data sets come with their recipe, any other with
    the paper's widths, SGD and poly. Raises `ConfigError` if the table's data set is not here, or there are several.
    """
    named = {text.partition("=")[0]: text for text in row.overrides} | dict(given)
    added = []
    if "data" not in named and named.get("experiment", "experiment=none") != "experiment=none":
        return row.overrides
    if "data" not in named:
        named["data"] = f"data={data_of(row.table)}"
        added = [named["data"]]
    if "experiment" not in named and named["data"] not in [f"data={name}" for name in EMBEDDED]:
        added.append("experiment=none")
    return [*row.overrides, *added]


def data_of(table: dict[str, Any]) -> str:
    """Return the data set of a table. Raises `ConfigError` if it is not here, or there are several."""
    wanted, known = table["data"].split(", "), options_of("data")
    if len(wanted) == 1 and wanted[0] in known:
        return wanted[0]
    several = f"it was run on several data sets ({table['data']})" if len(wanted) > 1 else ""
    problem = several or f"its data set ({table['data']}) is not one of ours"
    raise ConfigError(
        f"ablation={table['table']}: {problem}; choose one of {', '.join(known)}; to see it run in minutes: "
        f"data={EMBEDDED[0]} backbone=tiny"
    )


def refuse_missing(cfg: DictConfig) -> None:
    """Raise `ConfigError` if the folder of the data is not there: once here, instead of in every job."""
    root = cfg.data.get("root")
    if root is not None and not Path(root).is_dir():
        raise ConfigError(
            f"data.root={root}: no such folder; docs/data.md says how to get {cfg.choices.data}, data.root=PATH says "
            f"where it is; to see the table run in minutes: data={EMBEDDED[0]} backbone=tiny"
        )
