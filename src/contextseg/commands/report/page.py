"""The report as one HTML file that needs no other."""

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

from contextseg.commands.report import text
from contextseg.commands.report.compare import Comparison


def page(comparisons: Sequence[Comparison], pictures: Sequence[Path | None], plain: str) -> str:
    """All tables with their pictures (None: there is none), and the markdown table of the runs of no row."""
    found = zip(comparisons, pictures, strict=True)
    parts = [section(comparison, picture) for comparison, picture in found]
    if plain:
        parts.append(f"<h2 id=runs>Runs that stand for no row</h2>{html_table(*cells_of(plain))}")
    return PAGE.format(contents=contents(comparisons, bool(plain)), sections="\n".join(parts))


def contents(comparisons: Sequence[Comparison], plain: bool) -> str:
    """A link to each table, with how many of its rows were run."""
    items = [
        f"<li><a href=#{comparison.name}>{html.escape(text.title(comparison))}</a>: "
        f"{len(comparison.ran)} of {len(comparison.lines)} rows"
        for comparison in comparisons
    ]
    return "".join([*items, "<li><a href=#runs>Runs that stand for no row</a>" if plain else ""])


def section(comparison: Comparison, picture: Path | None) -> str:
    """Title, table, caption and picture of a comparison."""
    name = html.escape(text.title(comparison))
    image = f'<img alt="{name}" src="{embedded(picture)}">' if picture else ""
    told = html.escape(" ".join(text.caption(comparison)))
    table = html_table(text.header(comparison), text.body(comparison))
    return f"<h2 id={comparison.name}>{name}</h2>{table}<p>{told}</p>{image}"


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself where the screen is narrow; our columns are shaded."""
    marks = [' class="ours"' if name.endswith(" ours") else "" for name in header]
    head = "".join(f"<th{mark}>{html.escape(name)}" for name, mark in zip(header, marks, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{mark}>{html.escape(cell)}" for cell, mark in zip(row, marks, strict=True))
        for row in rows
    )
    return f"<div><table><tr>{head}{body}</table></div>"


def cells_of(table: str) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a markdown table."""
    lines = [re.split(r" ?\| ?", line.strip())[1:-1] for line in table.splitlines()]
    return lines[0], lines[2:]


def embedded(picture: Path) -> str:
    """A PNG file as the address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"


PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>The papers' tables</title>
<style>
body {{ font: 15px/1.4 sans-serif; margin: 1em auto; max-width: 70em; padding: 0 1em }}
div {{ overflow-x: auto }} table {{ border-collapse: collapse }} tr {{ border-bottom: 1px solid #ddd }}
td, th {{ padding: .15em .7em; text-align: right; white-space: nowrap }}
td:first-child, th:first-child, td:last-child, th:last-child {{ text-align: left }}
td:last-child {{ white-space: normal; min-width: 8em }} .ours {{ background: #e8f0f9 }}
h2 {{ font-size: 1.15em; margin-top: 2.5em }} p {{ color: #444; max-width: 55em }} img {{ max-width: 100% }}
</style>
<h1>The papers' tables</h1>
<p>Published values are the papers', for their data and schedules. Shaded columns are our own runs; a caption says with
which data and budget. Nothing published stands in a shaded column.</p>
<ul>{contents}</ul>
{sections}
</html>
"""
