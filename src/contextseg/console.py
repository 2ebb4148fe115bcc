"""The one console: log lines and progress bars share it, so that neither overwrites the other."""

from rich.console import Console

console = Console(stderr=True)
