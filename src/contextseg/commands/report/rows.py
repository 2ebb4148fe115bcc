"""The rows of the papers' tables that a run stands for: its own, and those of the same configuration."""

from collections.abc import Iterable, Mapping, Sequence

from contextseg.papers import rows as paper_rows
from contextseg.runs.store import Run

Overrides = Sequence[str]


def by_row(runs: Iterable[Run], tables: Iterable[Mapping]) -> tuple[dict[str, list[Run]], list[Run]]:
    """Return the runs by row, "<table>/<key>", and the runs of no row of these tables.

    A sweep runs rows of the same configuration once, under the first of them.
    """
    rows = {f"{table['table']}/{paper_rows.key(row['row'])}": row for table in tables for row in table["rows"]}
    known = {id: row["overrides"] for id, row in rows.items()}
    found: dict[str, list[Run]] = {id: [] for id in rows}
    others = []
    for run in runs:
        if run.row is None or run.row not in rows:
            others.append(run)
            continue
        for id in same_rows(run.row, run.config, known):
            found[id].append(run)
    return found, others


def same_rows(row: str, config: Mapping, known: Mapping[str, Overrides]) -> set[str]:
    """Return the rows with the overrides of a run's row, except in groups that the command line chose instead."""
    if not config or row not in known:
        return {row}
    replaced = chosen_instead(known[row], config["choices"])
    kept = without(known[row], replaced)
    return {row} | {id for id, overrides in known.items() if without(overrides, replaced) == kept}


def chosen_instead(overrides: Overrides, choices: Mapping[str, str]) -> set[str]:
    """Return the groups in which a run has another option than its row, and with the backbone the neck."""
    named = dict(text.split("=", 1) for text in overrides)
    groups = {group for group, option in choices.items() if named.get(group, option) != option}
    return groups | {"neck"} if "backbone" in groups else groups


def without(overrides: Overrides, groups: Iterable[str]) -> frozenset[str]:
    """Return the overrides that neither choose one of the groups nor set an option in it."""
    return frozenset(text for text in overrides if text.partition("=")[0].partition(".")[0] not in groups)
