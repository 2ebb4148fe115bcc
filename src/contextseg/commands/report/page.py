"""The report as one HTML file without external files."""

import html
import re
from collections.abc import Sequence
from pathlib import Path

from contextseg.commands import html_page
from contextseg.commands.report import text
from contextseg.commands.report.compare import Comparison

INTRODUCTION = """<p>Published values are the papers', for their data and schedules. Shaded columns are our own runs; a
caption says with which data and budget. Nothing published stands in a shaded column.</p>"""


def page(
    folder: Path, comparisons: Sequence[Comparison], pictures: Sequence[Path | None], plain: str, statistics: str = ""
) -> str:
    """Write all tables with their pictures (None: there is none), then, from markdown, the runs of no row and the
    statistics of all runs, whose pictures are in `folder`."""
    found = zip(comparisons, pictures, strict=True)
    parts = [section(comparison, picture) for comparison, picture in found]
    if plain:
        parts.append(f"<h2 id=runs>Runs that stand for no row</h2>{html_page.table(*cells_of(plain))}")
    parts += from_markdown(statistics, folder)
    body = [INTRODUCTION, f"<ul>{contents(comparisons, bool(plain))}</ul>", *parts]
    return html_page.document("The papers' tables", "\n".join(body))


def contents(comparisons: Sequence[Comparison], plain: bool) -> str:
    """Write a link to each table, with the number of its rows that were run."""
    items = [
        f"<li><a href=#{comparison.name}>{html.escape(text.title(comparison))}</a>: "
        f"{len(comparison.ran)} of {len(comparison.lines)} rows"
        for comparison in comparisons
    ]
    return "".join([*items, "<li><a href=#runs>Runs that stand for no row</a>" if plain else ""])


def section(comparison: Comparison, picture: Path | None) -> str:
    """Write title, table, caption and picture of a comparison."""
    title = text.title(comparison)
    image = html_page.picture(picture, title) if picture else ""
    caption = html.escape(" ".join(text.caption(comparison)))
    table = html_page.table(text.header(comparison), text.body(comparison), kind)
    return f"<h2 id={comparison.name}>{html.escape(title)}</h2>{table}<p>{caption}</p>{image}"


def kind(column: str) -> str:
    """Return the kind of a column, as `html_page.table` takes it."""
    return "ours" if column.endswith(" ours") else "words" if column == "note" else ""


def from_markdown(source: str, folder: Path) -> list[str]:
    """Write headings, tables, pictures of `folder` and paragraphs, one an item."""
    parts = []
    for block in source.strip().split("\n\n") if source else []:
        if block.startswith("## "):
            parts.append(f"<h2>{html.escape(block.removeprefix('## '))}</h2>")
        elif block.startswith("| "):
            parts.append(html_page.table(*cells_of(block), kind))
        elif image := re.fullmatch(r"!\[(.*)\]\((.*)\)", block):
            parts.append(html_page.picture(folder / image[2], image[1]))
        else:
            words = re.sub(r"[*](.+?)[*]", r"<i>\1</i>", html.escape(block))
            parts.append(f"<p>{words}</p>")
    return parts


def cells_of(table: str) -> tuple[list[str], list[list[str]]]:
    """Split a markdown table into its header and its rows."""
    lines = [re.split(r" ?\| ?", line.strip())[1:-1] for line in table.splitlines()]
    return lines[0], lines[2:]
