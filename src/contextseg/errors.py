"""The error that is no bug; not in `contract`, so that a command refuses a mistake before it loads torch."""

import sys
from pathlib import Path


class ConfigError(ValueError):
    """Report what the user can correct: the message names the option or file, its value and the way out."""


def how_to_run(command: str) -> str:
    """Return how the user would start another command, in the way that started this process."""
    script = Path(sys.argv[0])
    from_checkout = script.parent.name == "src" and script.suffix == ".py"
    return f"python src/{command}.py" if from_checkout else f"contextseg {command}"
