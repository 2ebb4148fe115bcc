"""Costs as tables: header and cells, for the console and in markdown."""

from collections.abc import Mapping, Sequence

from rich.table import Table as RichTable

from contextseg.commands.complexity.network import Cost
from contextseg.commands.complexity.tables import COUNTED, FIGURES, TIMED, Line, Table
from contextseg.papers import rows as paper_rows

Cells = list[list[str]]  # the first row is the header
UNITS = {"params": "parameters, M", "flops": "FLOPs, G", "memory": "memory, MiB"}
UNITS |= {"ms": "time, ms", "fps": "frames per second"}
NO_HEAD = "no such head here"
MIB = 2**20


def compared(table: Table, lines: Sequence[Line]) -> Cells:
    """Write a paper's table in its convention: for each figure published, ours and the difference in percent.

    Times are there if they were taken. They are of another device than the published ones, so they have no difference.
    """
    taken = {figure for line in lines for figure in line.counted}
    here = [figure for figure in FIGURES if figure in table.columns]
    figures = [figure for figure in here if figure in COUNTED or figure in taken] or here
    header = ["row"]
    for figure in figures:
        header += [f"{UNITS[figure]}: published", *(["ours", "%"] if figure in COUNTED else ["ours, this device"])]
    cells = [[*header, "note"]]
    for line in lines:
        row = [", ".join(filter(None, [line.entry.row, line.entry.variant]))]
        for figure in figures:
            ours, error = line.counted.get(figure), line.error(figure)
            row.append(str(line.published.get(figure, "")))
            row.append("" if ours is None else number(figure, ours))
            if figure in COUNTED:
                row.append("" if error is None else f"{error:+.1f}")
        note = "; ".join(filter(None, [line.entry.note, "" if line.counted else NO_HEAD]))
        cells.append([*row, note])
    return cells


def number(figure: str, value: float) -> str:
    """Write memory with one digit after the point, times with three digits, anything else with two after the point."""
    return digits(value) if figure in TIMED else f"{value:.1f}" if figure == "memory" else f"{value:.2f}"


def digits(value: float) -> str:
    """Write a time or a speed with about three digits: more would not come again."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def speeds(names: Sequence[str], ms: Sequence[float]) -> Cells:
    """Write milliseconds and frames per second of networks."""
    rows = [[name, digits(one), digits(1000 / one)] for name, one in zip(names, ms, strict=True)]
    return [["network", "ms", "frames per second"], *rows]


def heads(table: Table, found: Mapping[str, Mapping[str, float]]) -> Cells:
    """Write our heads of a table's rows as they stand."""
    cells = [["row", "overrides", "parameters, M", "FLOPs, G", "training, MiB", "inference, MiB"]]
    for label, cost in found.items():
        numbers = numerals([cost["params"], cost["flops"]], [cost["training"], cost["inference"]])
        cells.append([label, f"`{' '.join(table.row(label)['overrides'])}`", *numbers])
    return cells


def costs(found: Sequence[Cost]) -> Cells:
    """Write composed networks, part by part and as a whole, in M, G and MiB."""
    cells = [["network", "part", "params", "FLOPs", "of modules", "training", "in bf16", "inference", "in bf16"]]
    for cost in found:
        for part in cost.parameters:
            numbers = [cost.parameters[part] / 1e6, cost.flops[part] / 1e9, cost.module_flops[part] / 1e9]
            memory = [saved[part] / MIB for saved in cost.training.values()]
            cells.append([cost.name, part, *numerals(numbers, memory), "", ""])
        numbers = [sum(cost.parameters.values()) / 1e6, *(count / 1e9 for count in cost.inference_flops())]
        memory = [sum(saved.values()) / MIB for saved in cost.training.values()]
        memory += [peak / MIB for peak in cost.inference.values()]
        cells.append([cost.name, "all", *numerals(numbers, memory)])
    return cells


def numerals(numbers: Sequence[float], memory: Sequence[float]) -> list[str]:
    """Write numbers with two digits after the point, memory with none."""
    return [*(f"{value:,.2f}" for value in numbers), *(f"{value:,.0f}" for value in memory)]


def section(table: Table, lines: Sequence[Line], found: Mapping[str, Mapping[str, float]]) -> str:
    """Write a paper's table in markdown, under a heading, with our heads as they stand."""
    facts = paper_rows.table(table.name)
    return (
        f"## {facts['source']}: {facts['about']}\n\n`table={table.name}`. {table.about}\n\n"
        f"{markdown(compared(table, lines))}\nOur heads as they stand:\n\n{markdown(heads(table, found))}"
    )


def markdown(cells: Cells) -> str:
    """Write cells as a markdown table."""
    header, *rows = cells
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)) + "\n"


def rich_table(title: str, cells: Cells) -> RichTable:
    """Draw cells for the console: words to the left, numbers to the right."""
    header, *rows = cells
    table = RichTable(title=title, title_justify="left")
    for name in header:
        words = name in ("row", "network", "part", "overrides", "note")
        table.add_column(name, justify="left" if words else "right", overflow="fold")
    for row in rows:
        table.add_row(*row, end_section=len(row) > 1 and row[1] == "all")
    return table
