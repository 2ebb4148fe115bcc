"""Our average precision in the tables of `instances`, from what that command wrote."""

import json
import logging
from pathlib import Path
from typing import Any

from contextseg.papers import rows as paper_rows

log = logging.getLogger(__name__)
COLUMN = "AP_unlabelled"  # which of the two the surviving figures are is not known


def detected(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Return box and mask AP of the runs below a folder: table -> row -> column -> our numbers, with their data.

    Of several runs of a row the last by its path. A file that cannot be read is skipped with a warning.
    """
    files = [file for file in sorted(folder.glob("**/metrics.json")) if not (file.parent / "config.yaml").is_file()]
    runs = [run for file in files if "box_ap" in (run := content(file))]  # a folder with config.yaml is of `train`
    tables = [table for table in paper_rows.tables() if table.get("command") == "instances"] if runs else []
    found: dict[str, dict[str, dict[str, str]]] = {}
    for table in tables:
        for row in table["rows"]:
            wanted = dict(text.split("=") for text in row["overrides"])
            for run in runs:
                if (run.get("context"), run.get("backbone")) == (wanted["context"], wanted["trunk"]):
                    found.setdefault(table["table"], {})[row["row"]] = {COLUMN: words(run)}
    return found


def words(run: dict[str, Any]) -> str:
    """Write the two scores of a run and where they come from."""
    box, mask = (
        f"{run[name]:.1f}" if isinstance(run.get(name), float | int) else "-" for name in ("box_ap", "mask_ap")
    )
    return f"box {box}, mask {mask} ({run.get('source', '?')})"


def content(file: Path) -> dict[str, Any]:
    """Return what a metrics.json says; {} if it cannot be read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError) as error:
        log.warning("skipped %s: it cannot be read (%r)", file, error)
        return {}
