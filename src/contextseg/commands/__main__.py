"""`contextseg COMMAND ...`, `python -m contextseg COMMAND ...` and `python src/COMMAND.py ...` all start here."""

import sys
from collections.abc import Sequence

from contextseg.commands.help import command_help, overview
from contextseg.commands.table import COMMANDS


def main(name: str | None = None, words: Sequence[str] | None = None) -> None:
    """Run a command, the first word of the command line unless `name` is given, and exit with its exit code."""
    words = list(sys.argv[1:] if words is None else words)
    if name is None:
        if not words or words[0] in ("-h", "--help", "help"):
            print(overview())
            raise SystemExit(0)
        name = words.pop(0)
    if name not in COMMANDS:
        print(f"error: no command {name!r}; choose one of {', '.join(COMMANDS)}", file=sys.stderr)
        raise SystemExit(2)
    if {"-h", "--help"} & set(words):
        print(command_help(name))
        raise SystemExit(0)
    from contextseg.commands.entry import run_command

    raise SystemExit(run_command(name, words))


if __name__ == "__main__":
    main()
