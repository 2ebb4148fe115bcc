"""`contextseg COMMAND ...`, `python -m contextseg COMMAND ...` and `python src/COMMAND.py ...` all start here."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from contextseg.commands.help import command_help, overview
from contextseg.commands.importing import uncollected
from contextseg.commands.table import COMMANDS


def main(name: str | None = None, words: Sequence[str] | None = None) -> None:
    """Run a command, the first word of the command line unless `name` is given, and exit with its code."""
    words = list(sys.argv[1:] if words is None else words)
    if name is None:
        if not words or words[0] in ("-h", "--help", "help"):
            show(overview())
        name = words.pop(0)
    if name not in COMMANDS:
        print(f"error: no command {name!r}; choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        raise SystemExit(2)
    if {"-h", "--help"} & set(words):
        show(command_help(name))
    # threads that wait for one another sleep; spinning, they make a step ten times slower beside other work
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
    with uncollected():
        from contextseg.commands.entry import run_command

    raise SystemExit(run_command(name, words))


def show(text: str) -> NoReturn:
    """Print a help page and exit; a reader that stops early, as in `--help | head`, is no error."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(text)
    raise SystemExit(0)


if __name__ == "__main__":
    main()
