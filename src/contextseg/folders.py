"""Files below folders: regular ones only, and every folder once, whatever links lead to it."""

import glob
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from contextseg.errors import ConfigError

WILDCARD = re.compile(r"(\*\*/|\*\*|\*|\?|\[[^]]+\])")
MEANS = {"**/": "((?:[^/]+/)*)", "**": "(.*)", "*": "([^/]*)", "?": "([^/])"}  # as regular expressions
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def refuse_irregular(path: Path) -> None:
    """Raise `ConfigError` for a folder, a pipe or a device, reading which may never end, and `OSError` for nothing."""
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind != stat.S_IFREG:
        raise ConfigError(f"cannot read {path}: it is {KINDS.get(kind, 'no file')}; give a regular file, or remove it")


def walk(folder: Path, omitted: Path | None = None) -> Iterator[Path]:
    """Yield the regular files below a folder, without hidden ones and those below `omitted`.

    Links are followed after all else and no folder is entered twice, so a link to a folder above ends, and a file has
    the path without links, if there is one.
    """
    starts, entered = [folder], set()
    for start in starts:
        for where, folders, files in os.walk(start):
            here = Path(where)
            status = here.stat()
            if (status.st_dev, status.st_ino) in entered:
                folders.clear()
                continue
            entered.add((status.st_dev, status.st_ino))
            folders[:] = [name for name in sorted(folders) if not name.startswith(".") and (here / name) != omitted]
            starts += [here / name for name in folders if (here / name).is_symlink()]
            yield from (here / name for name in sorted(files) if not name.startswith(".") and (here / name).is_file())


def matching(root: Path, pattern: str) -> list[str]:
    """List what fits a pattern with *, ?, [] and ** (any depth), relative to `root` unless it is absolute, sorted."""
    parts = pattern.split("/")
    if "**" not in parts:
        return sorted(glob.glob(pattern, root_dir=root))
    above = "/".join(parts[: parts.index("**")])
    starts = glob.glob(above, root_dir=root) if above else ["/" if pattern.startswith("/") else ""]
    whole = expression(pattern)
    below = (os.path.join(start, file.relative_to(root / start)) for start in starts for file in walk(root / start))
    return sorted(name for name in below if whole.fullmatch(name))


def expression(pattern: str) -> re.Pattern:
    """Return a regular expression for a pattern, with a group for each wildcard."""
    return re.compile("".join(_part(part) for part in WILDCARD.split(pattern)))


def _part(part: str) -> str:
    if not WILDCARD.fullmatch(part):
        return re.escape(part)
    return MEANS.get(part) or f"({part.replace('[!', '[^')})"
