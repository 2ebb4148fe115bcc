"""The layouts of the data sets: their archives, the places of their members, the number of images.

Patterns are regular expressions for the last parts of a member's path: `images/(\\w+)\\.png` fits a/b/images/x.png.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from contextseg.commands.prepare import sets
from contextseg.commands.prepare.tree import Tree


@cache
def _expression(pattern: str) -> re.Pattern:
    return re.compile(f"(?:.*/)?(?:{pattern})")


@dataclass(frozen=True)
class Rule:
    """Place members that fit `pattern` at `target` (\\1 is the first group), through `convert` if there is one."""

    pattern: str
    target: str
    convert: Callable[[bytes], bytes] | None = None  # at the top of a module: it runs in other processes

    def place(self, member: str) -> str | None:
        """Return the place of a member below the root; None if the rule is not for it."""
        match = _expression(self.pattern).fullmatch(member)
        return match and match.expand(self.target)


class Known:
    """Recognise an archive by its contents, so that it may have any name, be several files or unpacked.

    `holds` is the pattern of a member that only this archive has.
    """

    holds: str

    def known_by(self, members: Sequence[str]) -> bool:
        """Tell whether it holds one of these members."""
        return any(map(_expression(self.holds).fullmatch, members))


@dataclass(frozen=True)
class Archive(Known):
    """One official archive."""

    part: str  # of the data set; of several archives with one part, any is enough
    name: str
    origin: str
    holds: str
    rules: tuple[Rule, ...]
    optional: bool = False
    suspect: Callable[[Sequence[bytes]], str] | None = None  # what is wrong with some of the members that `holds` fits


@dataclass(frozen=True)
class Wrong(Known):
    """An archive that is easily mistaken for one of these; `says`: what it is, and what to get instead."""

    holds: str
    says: str


@dataclass(frozen=True)
class Split:
    """A split as published. * in a path stands for the name of an image, of those in the file `listed` or of all."""

    name: str
    images: str
    masks: tuple[str, ...]  # the first that exists counts; empty: no labels published
    expected: tuple[int, ...]  # published numbers of images; empty: not published
    listed: str | None = None
    optional: bool = False


@dataclass(frozen=True)
class Layout:
    """A published form of a data set, of which there may be several."""

    archives: tuple[Archive, ...]
    splits: tuple[Split, ...]
    wrong: tuple[Wrong, ...] = ()
    options: tuple[str, ...] = ()  # that the commands need besides data= and data.root=
    finish: Callable[[Tree], None] | None = None  # writes the lists that no archive has


def data_sets() -> list[str]:
    """List the data sets that have layouts."""
    return sorted(found.name for found in iter_modules(sets.__path__))


def layouts(name: str) -> tuple[Layout, ...]:
    """Return the layouts of one of these data sets."""
    return import_module(f"{sets.__name__}.{name}").LAYOUTS
