"""Class names, palettes, groups and flip pairs of every data set; the facts stand in `classes.yaml`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MaxLen, MinLen

from contextseg import typed
from contextseg.errors import ConfigError
from contextseg.plain_yaml import read_yaml

MAX_CLASSES = 255  # labels are uint8, and 255 is void
KINDS = {
    "name": str,
    "names": Annotated[list[str], MinLen(1), MaxLen(MAX_CLASSES)],
    "palette": list[typed.Colour],
    "groups": dict[str, Annotated[list[str], MinLen(1)]],
    "flip_pairs": list[tuple[typed.Natural, typed.Natural]],
}


@dataclass(frozen=True)
class ClassSet:
    """Hold the classes of one data set; the index in `names` is the train id."""

    name: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]  # RGB 0-255, one per class
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)  # classes whose mean IoU is reported by name
    flip_pairs: tuple[tuple[int, int], ...] = ()  # train ids that a mirror image exchanges (left arm, right arm)

    def __len__(self) -> int:
        return len(self.names)

    def to_dict(self) -> dict:
        """Return plain containers, as a checkpoint stores them."""
        return {
            "name": self.name,
            "names": list(self.names),
            "palette": [list(colour) for colour in self.palette],
            "groups": {group: list(names) for group, names in self.groups.items()},
            "flip_pairs": [list(pair) for pair in self.flip_pairs],
        }

    @staticmethod
    def check(facts: dict, option: str) -> None:
        """Raise `ConfigError` unless `from_dict` makes a class set of this; `option` stands before what is wrong."""
        for key, kind in KINDS.items():
            if key in facts or key in ("name", "names", "palette"):
                typed.check(kind, facts.get(key), f"{option}.{key}")
        names, count = facts["names"], len(facts["names"])
        wrong = {
            "names": len(set(names)) < count,
            "palette": len(facts["palette"]) != count,
            "groups": not {name for group in facts.get("groups", {}).values() for name in group} <= set(names),
            "flip_pairs": max((one for pair in facts.get("flip_pairs", []) for one in pair), default=0) >= count,
        }
        for key in (key for key, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(f"{option}.{key}={typed.shown(facts[key])}: does not fit {count} different names")

    @classmethod
    def from_dict(cls, facts: dict) -> "ClassSet":
        """Build a class set from what `to_dict` returned, or from a block of `classes.yaml` with its name added."""
        return cls(
            name=facts["name"],
            names=tuple(facts["names"]),
            palette=tuple(tuple(colour) for colour in facts["palette"]),
            groups={group: tuple(names) for group, names in facts.get("groups", {}).items()},
            flip_pairs=tuple(tuple(pair) for pair in facts.get("flip_pairs", [])),
        )

    def subset(self, names: Sequence[str]) -> "ClassSet":
        """Return the class set of these names alone, in the order of this one, with the groups that are whole."""
        kept = [i for i, name in enumerate(self.names) if name in names]
        return ClassSet(
            name=self.name,
            names=tuple(self.names[i] for i in kept),
            palette=tuple(self.palette[i] for i in kept),
            groups={group: members for group, members in self.groups.items() if set(members) <= set(names)},
            flip_pairs=tuple((kept.index(a), kept.index(b)) for a, b in self.flip_pairs if {a, b} <= set(kept)),
        )

    def ids(self, group: str) -> list[int]:
        """Return the train ids of the classes in a group."""
        return [self.names.index(name) for name in self.groups[group]]


@cache
def class_set(name: str) -> ClassSet:
    """Return the class set called `name`. Raises `ConfigError` naming the known ones."""
    sets = class_sets()
    if name not in sets:
        raise ConfigError(f"no class set {name!r}; known: {', '.join(sorted(sets))}")
    facts = {"name": name, **sets[name]}
    if "background_and" in facts:
        facts["names"] = ["background", *sets[facts["background_and"]]["names"]]
    first = facts.get("first_colour", 0)
    facts.setdefault("palette", voc_colours()[first : first + len(facts["names"])])
    return ClassSet.from_dict(facts)


@cache
def class_sets() -> dict[str, Any]:
    """Return what classes.yaml holds, not to be changed."""
    return read_yaml((Path(__file__).parent / "classes.yaml").read_text())


def voc_colours() -> list[list[int]]:
    """Return the 256 colours of PASCAL VOC's masks, RGB 0-255.

    The bits of the index go to red, green and blue in turn. Colour 0 is black, 255 (void) is (224, 224, 192).
    """
    return [
        [sum((index >> 3 * place + channel & 1) << 7 - place for place in range(3)) for channel in range(3)]
        for index in range(256)
    ]
