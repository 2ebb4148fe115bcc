"""A report as one HTML file without external files."""

import html
from collections.abc import Mapping
from pathlib import Path

from contextseg.commands import html_page
from contextseg.commands.check_data.report import Report


def page(report: Report, pictures: Mapping[str, Path]) -> str:
    """Write the verdict, all faults, the table of classes and the pictures (caption -> PNG file)."""
    faults = "".join(
        f"<h2 class={level}>{level}, {html.escape(kind)}: {len(some)}</h2>"
        f"<ul>{''.join(f'<li>{html.escape(fault.text)}' for fault in some)}</ul>"
        for (level, kind), some in report.groups().items()
    )
    sizes = "".join(f"<li>{split}: {counts.in_words()}" for split, counts in report.splits.items())
    parts = [faults, "<h2>Classes</h2>", html_page.table(*report.class_table()), f"<h2>Images</h2><ul>{sizes}</ul>"]
    parts += [html_page.picture(path, meaning) for meaning, path in pictures.items()]
    return html_page.document(report.verdict(), "\n".join(parts))
