"""The rows of the papers' tables and their overrides, from `conf/ablation/*.yaml`, and their page in docs.

python -m contextseg.papers.rows > docs/paper_rows.md
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from contextseg.conf import CONF
from contextseg.errors import ConfigError
from contextseg.plain_yaml import read_yaml

INTRODUCTION = """# The papers' rows

Every row that the authors ran themselves (their method, their ablations, their own runs of other methods), as options
of `contextseg train`, or of the command that is named. Numbers are the papers', accuracies in percent, with the digits
printed there, of the data set that is named above each table; none is ours. *Not printed*: shown in a figure only.

The options do not set the data set. Rows of one table that differ only in how they are evaluated or trained share their
options. By default they run the embedded recipe on `context_scenes` at width 64; `experiment=none` gives the papers'
widths, with SGD and poly. [ablations.md](ablations.md) runs a whole table.

Written by `python -m contextseg.papers.rows`.
"""


PAPERS = ("ctnet", "agln", "cpnet", "ocr", "ccnet")


def tables() -> list[dict]:
    """Return the papers' tables.

    Each has `table` (the option of `ablation=`), `source`, `about`, `data`, and `rows`. A row has `row`, `published`,
    `overrides`, which are options of `train` or of the table's `command`, and perhaps a `note`, and `over`, the row to
    which its published `delta` is.
    """
    names = sorted((file.stem for file in (CONF / "ablation").glob("*.yaml")), key=in_order)
    return [table(name) for name in names]


def table(name: str) -> dict:
    """Return a table by its name in `ablation=`, such as "diagnostic/facts". Raises `ConfigError` listing all names."""
    folder = CONF / "ablation"
    known = {file.relative_to(folder).with_suffix("").as_posix(): file for file in folder.rglob("*.yaml")}
    if name not in known:
        raise ConfigError(f"ablation={name}: no such table; choose one of {', '.join(sorted(known, key=in_order))}")
    return {"table": name} | read_yaml(known[name].read_text())


@cache
def quoted() -> dict[str, list[dict]]:
    """Return the rows that a table quotes from other work, `row` and `published`, by table."""
    return read_yaml(Path(__file__).with_name("quoted.yaml").read_text(encoding="utf-8"))


def chosen(table: dict, patterns: Sequence[str]) -> dict:
    """Return a table with those rows whose keys match one of the patterns, such as "ccnet_*"."""
    keep = [row for row in table["rows"] if any(fnmatchcase(key(row["row"]), pattern) for pattern in patterns)]
    return table | {"rows": keep}


def key(row: str) -> str:
    """Return the label of a row as a plain name, for folders: "CTNet, K=9,17" -> "ctnet_k_9_17"."""
    return re.sub(r"[^a-z0-9.]+", "_", row.lower()).strip("_.")


def in_order(table: str) -> tuple:
    """Return the sorting key of a table's name: paper by paper, "t2" before "t10"."""
    paper, _, rest = table.partition("_")
    number = "".join(filter(str.isdigit, rest))
    return PAPERS.index(paper) if paper in PAPERS else len(PAPERS), rest.strip("0123456789"), int(number or 0)


def page() -> str:
    """Write docs/paper_rows.md."""
    parts = [INTRODUCTION]
    for table in tables():
        other = f" · options of `contextseg {table['command']}`" if "command" in table else ""
        parts.append(f"## {table['source']}: {table['about']}\n\n{table['data']} · `{table['table']}`{other}\n")
        lines = ["| row | published | overrides |", "|---|---|---|"]
        for row in table["rows"]:
            published = ", ".join(f"{name} {value}" for name, value in row["published"].items()) or "not printed"
            note = f" ({row['note']})" if "note" in row else ""
            lines.append(f"| {row['row']} | {published}{note} | `{' '.join(row['overrides'])}` |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
