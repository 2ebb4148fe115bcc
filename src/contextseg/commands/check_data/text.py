"""A report on the terminal and as plain text."""

import io

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from contextseg.commands.check_data.report import Report

MAX_SHOWN = 5  # faults of one kind; report.json has all


def plain(report: Report) -> str:
    """Return the report as plain text."""
    file = io.StringIO()
    show(report, Console(file=file, width=120))
    return file.getvalue()


def show(report: Report, out: Console) -> None:
    """Print a report."""
    header, rows = report.class_table()
    table = Table(title=f"{report.data}: percentage of the pixels, images that show the class", title_justify="left")
    for i, name in enumerate(header):
        table.add_column(name, justify="right" if i else "left")
    for row in rows:
        table.add_row(*map(escape, row))
    out.print(table)
    for split, counts in report.splits.items():
        out.print(f"{split}: {counts.in_words()}", highlight=False)
    for (level, kind), faults in report.groups().items():
        style = "bold red" if level == "error" else "yellow"
        out.print(f"[{style}]{level}[/], {escape(kind)}: {len(faults)}", highlight=False)
        for fault in faults[:MAX_SHOWN]:
            out.print(f"  {escape(fault.text)}", soft_wrap=True, highlight=False)
        if len(faults) > MAX_SHOWN:
            out.print(f"  and {len(faults) - MAX_SHOWN} more in report.json", highlight=False)
    out.print(report.verdict(), highlight=False)
