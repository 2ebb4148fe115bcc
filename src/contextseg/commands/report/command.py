"""Making a report: find the runs, compare them with the papers' tables, write a folder."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from contextseg.commands.report import plain, sequences, text
from contextseg.commands.report.as_csv import rows_as_csv
from contextseg.commands.report.compare import Choice, Comparison, compare
from contextseg.commands.report.counted import counted
from contextseg.commands.report.detected import detected
from contextseg.commands.report.figures import draw
from contextseg.commands.report.intervals import Belief
from contextseg.commands.report.intervals import tables as statistics_tables
from contextseg.commands.report.options import ReportOptions
from contextseg.commands.report.page import page
from contextseg.commands.report.protocols import with_protocols
from contextseg.commands.report.rows import by_row
from contextseg.commands.report.scored import Scored, chosen, counts_file, scored
from contextseg.console import console
from contextseg.errors import ConfigError
from contextseg.files import write_atomically
from contextseg.papers import rows as paper_rows
from contextseg.runs.store import Run, places, readable

log = logging.getLogger(__name__)


def main(options: ReportOptions) -> None:
    """Write the report."""
    report(options)


def report(cfg: ReportOptions) -> Path:
    """Write the papers' tables with our runs below `cfg.runs`, the runs of no row, and statistics; return the folder.

    Raises `ConfigError` if there is no training run, or none that was asked for.
    """
    choice = Choice(cfg.least_steps or 0, cfg.steps, cfg.choices.get("data"))
    every = [run for run in readable(places(cfg.runs)) if run.metrics]
    runs = with_protocols([run for run in every if run.training], [run for run in every if not run.training])
    if not any(run.finished or (run.row and run.failed) for run in runs):
        raise ConfigError(f"runs={cfg.runs}: no finished training run below this folder")
    tables = paper_rows.tables()
    shown = asked_for(cfg.tables, tables)
    rows, others = by_row(runs, tables)
    check_choice(choice, [run for found in rows.values() for run in found])
    costs_of = counted(cfg.runs) | detected(cfg.runs)
    there = any(rows.values()) or costs_of
    comparisons = [compare(table, rows, choice, costs_of.get(table["table"])) for table in shown] if there else []
    folder = cfg.output or cfg.runs / "report"
    folder.mkdir(parents=True, exist_ok=True)
    scores = scored(every)
    told = [statistics(scores, cfg), costs(scores, cfg.costs, folder) if cfg.costs else ""]
    write(folder, comparisons, plain.table(others, cfg.columns, cfg.learnt), "\n".join(filter(None, told)))
    return folder


def statistics(found: Sequence[Scored], cfg: ReportOptions) -> str:
    """The tables of seeds and images in markdown; "" if no run has counts of its images and `against` is not given."""
    against = chosen(found, cfg.against) if cfg.against else []
    if not against and not any(counts_file(run).is_file() for one in found for run in one.seeds.values()):
        return ""
    told = [statistics_tables(found, Belief(cfg.resamples, cfg.block, cfg.blocks), against), sequences.tables(found)]
    return "\n".join(filter(None, told))


def costs(found: Sequence[Scored], size: tuple[int, int], folder: Path) -> str:
    """The table of costs in markdown, with the pictures of score against cost, which are drawn into `folder`."""
    from contextseg.commands.report import costs_table, pareto  # torch, which no other part of a report needs
    from contextseg.commands.report.costs import measured

    known = measured(found, size)
    pictures = pareto.draw(found, known, folder)
    images = [f"![{name}]({path.name})\n" for name, path in pictures.items()]
    return "\n".join([costs_table.table(found, known), *images])


def asked_for(names: str | Sequence[str] | None, tables: Sequence[dict]) -> list[dict]:
    """Return the tables of these names, all for None. Raises `ConfigError` for an unknown one."""
    known = {table["table"]: table for table in tables}
    wanted = list(known) if names is None else [names] if isinstance(names, str) else names
    for name in wanted:
        if name not in known:
            raise ConfigError(f"tables={name}: no such table; choose from {', '.join(known)}")
    return [table for name, table in known.items() if name in wanted]


def check_choice(choice: Choice, runs: Iterable[Run]) -> None:
    """Raise `ConfigError` if `steps` or `data` chooses none of the runs of rows, listing their values."""
    configs = [run.config for run in runs if run.config]
    there = {
        "steps": {config["trainer"]["max_steps"] for config in configs},
        "data": {config["choices"]["data"] for config in configs},
    }
    for option, values in there.items():
        wanted = getattr(choice, option)
        if wanted is not None and wanted not in values:
            listed = ", ".join(map(str, sorted(values))) or "none"
            raise ConfigError(f"{option}={wanted}: no run of a row has it; there is {listed}")


def write(folder: Path, comparisons: Sequence[Comparison], runs: str, statistics: str) -> None:
    """Write four files for each table, `runs.md`, `statistics.md` and `report.html`; print tables with results."""
    pictures: list[Path | None] = []
    for comparison in comparisons:
        files: Mapping[str, str] = {
            "md": text.markdown(comparison),
            "tex": text.latex(comparison),
            "csv": rows_as_csv(comparison),
        }
        for kind, content in files.items():
            write_atomically(folder / f"{comparison.name}.{kind}", content)
        picture = folder / f"{comparison.name}.png"
        picture.unlink(missing_ok=True)
        pictures.append(picture if draw(comparison, picture) else None)
        if comparison.ran:
            console.print(files["md"], soft_wrap=True, highlight=False, markup=False)
    for name, content in (("runs.md", runs), ("statistics.md", statistics)):
        if content:
            write_atomically(folder / name, content)
            console.print(content, soft_wrap=True, highlight=False, markup=False)
    write_atomically(folder / "report.html", page(folder, comparisons, pictures, runs, statistics))
    console.print(f"report: {folder / 'report.html'}", soft_wrap=True, highlight=False)
