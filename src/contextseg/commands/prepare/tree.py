"""The folder that becomes the ready tree: whole files only, nothing replaced unasked, and a record of the work."""

import json
import os
from pathlib import Path
from typing import Any

from contextseg.errors import ConfigError
from contextseg.files import PART, lock, write_atomically

RECORD = ".prepare.json"


class Tree:
    """Write below `root`, in a `with` block that keeps a second process out.

    `record` is that of an earlier command: {"data": ..., "archives": {name: {size, sha256, done, ...}}, "splits": ...}.
    """

    def __init__(self, root: Path, overwrite: bool = False):
        self.root, self.overwrite = root, overwrite
        self.record: dict[str, Any] = read_record(root)

    def __enter__(self) -> "Tree":
        self.root.mkdir(parents=True, exist_ok=True)
        self.lock = os.open(self.root, os.O_RDONLY)
        if not lock(self.lock):
            os.close(self.lock)
            raise ConfigError(f"root={self.root}: another prepare writes there; wait until it ends")
        self.record = read_record(self.root)
        for left in self.root.glob(f"{PART}*"):  # of a killed process
            left.unlink()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.lock)

    def has(self, target: str) -> bool:
        """Tell whether there is a file that is not empty."""
        path = self.root / target
        return path.is_file() and path.stat().st_size > 0

    def put(self, target: str, data: bytes) -> bool:
        """Write a file in one step; return False if it exists with this content.

        Raises `ConfigError` if it exists with another, and may not be replaced.
        """
        path = self.root / target
        if path.is_file():
            if path.stat().st_size == len(data) and path.read_bytes() == data:
                return False
            if not self.overwrite:
                raise ConfigError(
                    f"{path}: exists, with other content than the archives give; take another root=, or replace such "
                    "files with overwrite=true"
                )
        write_atomically(path, data, self.root)  # so that half of a picture never lies among the pictures
        return True

    def put_lines(self, target: str, lines: list[str]) -> bool:
        """Write a list, a name per line."""
        return self.put(target, "".join(f"{line}\n" for line in lines).encode())

    def lines(self, target: str) -> list[str]:
        """Read the names in a list."""
        return read_lines(self.root / target)

    def save(self) -> None:
        """Write the record of this folder."""
        write_atomically(self.root / RECORD, json.dumps(self.record, indent=2) + "\n")


def read_record(root: Path) -> dict[str, Any]:
    """Return the record of an earlier command; {} if there is none. Raises `ConfigError` if it cannot be read."""
    try:
        return json.loads((root / RECORD).read_text())
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise ConfigError(f"{root / RECORD} cannot be read ({error}); delete it, and all is checked anew") from error


def read_lines(path: Path) -> list[str]:
    """Return the first word of each line that has one; [] if there is no such file."""
    return [line.split()[0] for line in path.read_text().splitlines() if line.strip()] if path.is_file() else []
