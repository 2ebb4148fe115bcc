"""Our costs of the papers' tables, from what `complexity` wrote."""

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def counted(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Return the costs in every complexity.json of a table below a folder: table -> row -> column -> our number.

    Of several files of one table the last by its path. The row "" has what the numbers are, as `about`. A file that
    cannot be read is skipped with a warning.
    """
    found = {}
    for file in sorted(folder.glob("**/complexity.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if "table" in content:
                found[content["table"]] = by_row(content["rows"], content["columns"]) | {"": about(content)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("skipped %s: it cannot be read as a table of costs (%r)", file, error)
    return found


def by_row(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the numbers of each row by the paper's columns; of several variants of a row, each with its name."""
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for ours, column in columns.items():
            if (value := row["counted"].get(ours)) is not None:
                words = f"{value:.3g}" if ours in ("ms", "fps") else f"{value:.2f}"
                said = f"{words} ({row['variant']})" if row["variant"] else words
                found.setdefault(row["row"], {}).setdefault(column, []).append(said)
    return {label: {name: " / ".join(said) for name, said in cells.items()} for label, cells in found.items()}


def about(content: Mapping[str, Any]) -> dict[str, str]:
    """Say what the numbers are, and of times on which machine."""
    timed = f" Times are of this device: {content['timed']}." if content.get("timed") else ""
    return {"about": f"{content['about']}{timed}"}
