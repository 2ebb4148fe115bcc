"""The tables in docs/complexity.md, below the line that says so.

python -m contextseg.commands.complexity.page docs/complexity.md
"""

import sys
from pathlib import Path

from contextseg.commands.complexity import tables, text
from contextseg.files import write_atomically

MARK = "<!-- written by python -m contextseg.commands.complexity.page docs/complexity.md -->\n"


def generated() -> str:
    """Write all tables, each with our heads as they stand."""
    return "\n".join(
        text.section(table, tables.counted(table), tables.plainly(table)) for table in tables.TABLES.values()
    )


if __name__ == "__main__":
    file = Path(sys.argv[1])
    above, mark, _ = file.read_text().partition(MARK)
    write_atomically(file, f"{above}{mark or MARK}\n{generated()}")
