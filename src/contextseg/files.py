"""Files that exist as a whole or not at all, and locks on files and folders."""

import fcntl
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO

from contextseg.errors import ConfigError

PART = ".part_"  # the prefix of a side file's name
MAX_NAME = 200  # bytes that leave room for it


@contextmanager
def side_file(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Yield a file to write into; it takes the name `path` at the end, and is removed after an error.

    It lies beside `path`, or in `folder` on the same disk; a killed process leaves it there. The folder of `path` is
    made. The extension stays, because it tells many writers the format. A long name is replaced by a digest of it.
    """
    name = os.fsencode(path.name)
    short = path.name if len(name) <= MAX_NAME else f"{blake2b(name, digest_size=8).hexdigest()}{path.suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    side = (folder or path.parent) / f"{PART}{os.getpid()}_{short}"
    try:
        yield side
        os.replace(side, path)
    finally:
        side.unlink(missing_ok=True)


def refuse_unwritable(path: Path, option: str) -> None:
    """Raise `ConfigError` if nothing can be written at a path: something above it is a file, or is read-only."""
    place = there = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if there.is_file() and there == place:
        there = there.parent  # to be replaced
    if not there.is_dir() or not os.access(there, os.W_OK):
        what = "cannot be written" if there.is_dir() else "is no folder"
        raise ConfigError(f"{option}={path}: {there} {what}; give a place that can be written")


def write_atomically(path: Path, content: str | bytes, folder: Path | None = None) -> None:
    """Replace a file: it holds either the old content or the new one, whenever the process dies.

    `folder`: where the side file lies, as for `side_file`.
    """
    with side_file(path, folder) as side:
        side.write_bytes(content.encode() if isinstance(content, str) else content)


def lock(file: IO | int) -> bool | None:
    """Lock an open file or folder for as long as it is open, in this process and those that inherit it.

    Returns False if another process holds the lock, None if the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def existing_checkpoint(path: Path, option: str = "ckpt") -> Path:
    """Return the path of a checkpoint file. Raises `ConfigError` if there is no such file."""
    if not path.is_file():
        raise ConfigError(f"{option}={path}: no such file; give a .ckpt of a run folder's checkpoints/")
    return path


def first_damaged(path: Path) -> str | None:
    """Return the first part of a file of `torch.save` whose checksum does not fit; None if all do.

    `torch.load` looks at none. Another kind of file has no such parts.
    """
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as parts:
        return parts.testzip()
