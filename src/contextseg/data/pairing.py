"""Pairing of images and masks: by file name without ending, or by the text that wildcards stand for."""

import re
from collections.abc import Collection
from pathlib import Path

from contextseg.data.pixels import SUFFIXES
from contextseg.errors import ConfigError
from contextseg.folders import expression, matching


def find(root: Path, pattern: str, suffixes: Collection[str] = SUFFIXES) -> dict[str, Path]:
    """Find files with an ending in `suffixes` (lower case), by key.

    `pattern`, relative to `root`: a folder, a file, or a path with *, ?, [] and **/. The key is the file name without
    ending, or the text in place of the wildcards, joined by "/". Hidden files are omitted. Raises `ConfigError` if two
    files have the same key.
    """
    pattern = str(Path(pattern))
    if (root / pattern).is_dir():
        keyed = [(path.stem, path) for path in sorted((root / pattern).iterdir()) if not path.name.startswith(".")]
    else:
        found = map(expression(pattern).fullmatch, matching(root, pattern))
        keyed = [(_key(match), root / match[0]) for match in found if match]
    files: dict[str, Path] = {}
    for key, path in keyed:
        if path.suffix.lower() not in suffixes:
            continue
        if key in files:
            raise ConfigError(
                f"{files[key]} and {path} have the same name {key!r}; rename one, or give a pattern "
                f"that fits one of them, such as {pattern}/*{path.suffix}"
            )
        files[key] = path
    return files


def _key(match: re.Match) -> str:
    """Return the text that the wildcards stand for, without the ending where the last one covers it, as in * and *.*"""
    if match.lastindex is None:
        return Path(match[0]).stem
    *parts, last = match.groups()
    if match.end(match.lastindex) == match.end():
        suffix = Path(match[0]).suffix
        last = "" if last == suffix[1:] else last.removesuffix(suffix)
    return "/".join(part.strip("/") for part in (*parts, last) if part)
