"""The rows of the papers' tables and the overrides that build each; facts in `paper_rows.yaml`, page in docs.

python -m contextseg.paper_rows > docs/paper_rows.md
"""

from pathlib import Path

import yaml

INTRODUCTION = """# The papers' rows

Every row that the authors ran themselves (their method, their ablations, their own runs of other methods), as overrides
of `python src/train.py`. Numbers are the papers', not ours. Data sets that are not here yet are named, not set; rows of
one table that differ only in how they are evaluated or trained share their overrides. By default they run the embedded
recipe on `context_scenes` at width 64; `experiment=none` gives the papers' widths, with SGD and poly. Written by
`python -m contextseg.paper_rows`.
"""


def tables() -> list[dict]:
    """The tables: `table`, `source`, `about`, `data`, and `rows` with `row`, `published`, perhaps a `note`, and
    `overrides` or `waiting`."""
    return yaml.safe_load((Path(__file__).parent / "paper_rows.yaml").read_text())


def page() -> str:
    """docs/paper_rows.md."""
    parts = [INTRODUCTION]
    for table in tables():
        parts.append(f"## {table['source']}: {table['about']}\n\n{table['data']} · `{table['table']}`\n")
        lines = ["| row | published | overrides |", "|---|---|---|"]
        for row in table["rows"]:
            published = ", ".join(f"{name} {value}" for name, value in row["published"].items()) or "not recoverable"
            how = f"`{' '.join(row['overrides'])}`" if "overrides" in row else f"waiting: {row['waiting']}"
            note = f" ({row['note']})" if "note" in row else ""
            lines.append(f"| {row['row']} | {published}{note} | {how} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
