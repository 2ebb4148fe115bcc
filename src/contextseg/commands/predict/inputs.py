"""The inputs that `input=` names: images, folders, patterns, videos, a webcam, or a list. Nothing is read."""

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from contextseg.errors import ConfigError
from contextseg.folders import matching, refuse_irregular

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}


class Inputs(NamedTuple):
    """The inputs to label, in the order given, none twice."""

    images: list[Path]
    videos: list[Path | int]  # a file, or the number of a webcam


def find(given: str | Sequence[str]) -> Inputs:
    """Find the inputs. A folder stands for the images in it, a glob pattern for images and videos.

    Raises `ConfigError` for a name without files.
    """
    names = [given] if isinstance(given, str) else list(given)
    if not names:
        raise ConfigError("input=[]: name an image, a folder, a pattern, a video or webcam:0")
    found = list(dict.fromkeys(one for name in names for one in _named(str(name))))
    images = [one for one in found if isinstance(one, Path) and one.suffix.lower() not in VIDEOS]
    return Inputs(images, [one for one in found if one not in images])


def _named(name: str) -> Sequence[Path | int]:
    path = Path(name)
    if webcam := re.fullmatch(r"webcam:(\d+)", name):
        return [int(webcam[1])]
    if path.is_file():
        return [path]
    if path.exists() and not path.is_dir():
        refuse_irregular(path)
    if path.is_dir():
        known, where, found = IMAGES, "no image in this folder", list(path.iterdir())
    elif glob.has_magic(name):
        known, where = IMAGES | VIDEOS, "no image or video matches"
        found = [Path(match) for match in matching(Path(), name)]
    else:
        raise ConfigError(f"input={name}: no such file or folder")
    files = sorted(file for file in found if file.suffix.lower() in known and file.is_file())
    if not files:
        raise ConfigError(f"input={name}: {where} (looked for {' '.join(sorted(known))})")
    return files


def output_names(inputs: Sequence[Path | int]) -> dict[Path | int, str]:
    """Return a different name for each input.

    That is its stem; its whole name where two share a stem; its path where two share a name; else with a number.
    """
    ways = (
        lambda path: path.stem,
        lambda path: path.name.replace(".", "_"),
        lambda path: re.sub(r"\W+", "_", str(path)).strip("_"),
    )
    paths = {one: Path(f"webcam_{one}") if isinstance(one, int) else one for one in inputs}
    names: dict[Path | int, str] = {}
    for way in ways:
        wanted = {one: way(path) for one, path in paths.items() if one not in names}
        folded = [name.casefold() for name in (*wanted.values(), *names.values())]  # some file systems fold the case
        names |= {one: name for one, name in wanted.items() if folded.count(name.casefold()) == 1}
    rest = [one for one in inputs if one not in names]
    return names | {one: f"{ways[-1](paths[one])}_{i}" for i, one in enumerate(rest, 1)}
