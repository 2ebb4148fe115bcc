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


def refuse_irregular(path: Path, option: str = "") -> None:
    """Raise `ConfigError` for a folder, a pipe or a device, reading which may never end, and `OSError` for nothing.

    The message names the `option`, if the path is its value.
    """
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind != stat.S_IFREG:
        name = f"{option}={path}" if option else path
        raise ConfigError(f"cannot read {name}: it is {KINDS.get(kind, 'no file')}; give a regular file, or remove it")


def walk(*starts: Path, omitted: Path | None = None) -> Iterator[Path]:
    """Yield the regular files below folders, without hidden ones and those below `omitted`, unless it is a start.

    Links are followed after all else and no folder is entered twice, so a link to a folder above ends, and a file has
    the path without links, if there is one.
    """
    tops = list(starts)
    entered = {_identity(omitted)} if omitted and omitted.exists() else set()
    entered -= set(map(_identity, filter(Path.exists, tops)))
    for top in tops:
        for where, folders, files in os.walk(top):
            here = Path(where)
            if _identity(here) in entered:
                folders.clear()
                continue
            entered.add(_identity(here))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            tops += [here / name for name in folders if (here / name).is_symlink()]
            yield from (here / name for name in sorted(files) if not name.startswith(".") and (here / name).is_file())


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def matching(root: Path, pattern: str) -> list[str]:
    """List what fits a pattern with *, ?, [] and ** (any depth), relative to `root` unless it is absolute, sorted."""
    pattern = str(Path(pattern))
    parts = pattern.split("/")
    if "**" not in parts:
        return sorted(glob.glob(pattern, root_dir=root))
    above = "/".join(parts[: parts.index("**")])
    starts = glob.glob(above, root_dir=root) if above else ["/" if pattern.startswith("/") else ""]
    files = walk(*(root / start for start in starts))
    names = [str(file if Path(pattern).is_absolute() else file.relative_to(root)) for file in files]
    return sorted(filter(expression(pattern).fullmatch, names))


def expression(pattern: str) -> re.Pattern:
    """Return a regular expression for a pattern, with a group for each wildcard."""
    return re.compile("".join(_part(part) for part in WILDCARD.split(pattern)))


def _part(part: str) -> str:
    if not WILDCARD.fullmatch(part):
        return re.escape(part)
    return MEANS.get(part) or f"({part.replace('[!', '[^')})"
