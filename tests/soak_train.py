"""`train.py` that kills itself (SIGKILL) before a file event in its runs, for tests/soak.py.

SOAK_RUNS: the folder whose events count. SOAK_KILL: the number of the event, 0 for none. SOAK_COUNT: a file for the
number of events, written at the end.
"""

import atexit
import os
import signal
import sys
from pathlib import Path

from contextseg.commands.__main__ import main

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def arm() -> None:
    """Count the events of this process that change files, and kill it before one of them."""
    runs, last, count = os.environ["SOAK_RUNS"], int(os.environ["SOAK_KILL"]), 0

    def note(event: str, arguments: tuple) -> None:
        nonlocal count
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if (writes or event in CHANGES) and str(arguments[0]).startswith(runs):
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(note)
    atexit.register(lambda: Path(os.environ["SOAK_COUNT"]).write_text(str(count)))


if __name__ == "__main__":
    if "LOCAL_RANK" not in os.environ:
        arm()
    main("train")
