"""HTML files without external files: the frame, tables, pictures."""

import base64
import html
from collections.abc import Callable, Sequence
from pathlib import Path


def document(title: str, body: str) -> str:
    """Frame the body, which is HTML, under its title, which is text."""
    return FRAME.format(title=html.escape(title), body=body)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], kind: Callable[[str], str] = lambda name: "") -> str:
    """Write a table of texts that scrolls where the screen is narrow.

    `kind` of a column, by its name: "words" are set left, "ours" are shaded, "" are numbers. The first column is words.
    """
    kinds = ["words", *map(kind, header[1:])]
    marks = [f" class={each}" if each else "" for each in kinds]
    head = "".join(f"<th{mark}>{html.escape(name)}" for name, mark in zip(header, marks, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{mark}>{html.escape(cell)}" for cell, mark in zip(row, marks, strict=True))
        for row in rows
    )
    return f"<div><table><tr>{head}{body}</table></div>"


def picture(path: Path, meaning: str) -> str:
    """Embed a PNG or JPEG file; `meaning` is the text for those who cannot see it."""
    content = base64.b64encode(path.read_bytes()).decode()
    kind = "png" if path.suffix == ".png" else "jpeg"
    return f'<img alt="{html.escape(meaning)}" src="data:image/{kind};base64,{content}">'


FRAME = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 sans-serif; margin: 1em auto; max-width: 70em; padding: 0 1em }}
div {{ overflow-x: auto }} table {{ border-collapse: collapse }} tr {{ border-bottom: 1px solid #ddd }}
td, th {{ padding: .15em .7em; text-align: right; white-space: nowrap }}
td:first-child, th:first-child {{ position: sticky; left: 0; background: #fff }}
.words {{ text-align: left }} td.words:last-child {{ white-space: normal; min-width: 8em }}
.ours {{ background: #e8f0f9 }} .error {{ color: #b00 }} .warning {{ color: #850 }}
h2 {{ font-size: 1.15em; margin-top: 2.5em }} p {{ color: #444; max-width: 55em }}
img {{ display: block; max-width: 100%; margin: 1em 0 }}
</style>
<h1>{title}</h1>
{body}
</html>
"""
