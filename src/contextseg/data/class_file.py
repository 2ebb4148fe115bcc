"""The yaml file of the classes of a data set, which a user writes; docs/own_data.md describes it."""

import colorsys
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from contextseg.classes import ClassSet
from contextseg.errors import ConfigError
from contextseg.folders import refuse_irregular
from contextseg.plain_yaml import read_yaml

KEYS = ("names", "palette", "ids", "ignore", "groups", "flip_pairs")
SHORT = reprlib.Repr()  # YAML can write down endless values
SHORT.maxlevel, SHORT.maxlist, SHORT.maxdict, SHORT.maxstring, SHORT.maxother = 4, 8, 8, 80, 80


@dataclass(frozen=True)
class ClassFile:
    """The contents of a class file."""

    path: Path
    classes: ClassSet
    has_palette: bool  # else `made_up` chose the colours
    ids: dict[int, int] | None  # raw label -> train id; None: they are the same
    ignore: tuple[int | tuple[int, int, int], ...]  # raw labels, or colours, that are void


def read_class_file(path: Path, name: str) -> ClassFile:
    """Read the class file of the data set `name`. Raises `ConfigError` naming the file, the key and the value."""
    try:
        refuse_irregular(path)
        facts = read_yaml(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"data.classes={path} cannot be read ({error}); write the classes there, names: [background, ...], "
            "see docs/own_data.md"
        ) from error

    def require(holds: bool, key: str, value: object, wanted: str) -> None:
        if not holds:
            raise ConfigError(f"{path}: {key}: {SHORT.repr(value)}: give {wanted}, see docs/own_data.md")

    require(isinstance(facts, dict), "contents", facts, "keys and values, names: [background, ...] at least")
    for key in facts:
        require(key in KEYS, "unknown key", key, f"some of {', '.join(KEYS)}")
    facts = {key: value for key, value in facts.items() if value is not None}
    names = facts.get("names", [])
    require(isinstance(names, list) and 2 <= len(names) <= 255, "names", names, "a list of 2 to 255 classes")
    for text in names:
        require(isinstance(text, str) and names.count(text) == 1, "names", text, "each a text of its own, quoted")

    palette = facts.get("palette", made_up(len(names)))
    require(isinstance(palette, list) and len(palette) == len(names), "palette", palette, "one colour per class")
    for colour in palette:
        require(_is_colour(colour), "palette", colour, "[red, green, blue], each 0 to 255")
        require(palette.count(colour) == 1, "palette", colour, "each class a colour of its own")

    ids = facts.get("ids")
    require(isinstance(ids, dict | None), "ids", ids, "raw label: class name")
    for raw, text in (ids or {}).items():
        require(_is_byte(raw) and text in names, "ids", {raw: text}, "a label 0 to 255 and one of the names")

    ignore = facts.get("ignore", [])
    require(isinstance(ignore, list), "ignore", ignore, "a list of labels, or of colours")
    for value in ignore:
        require(_is_byte(value) or _is_colour(value), "ignore", value, "a label 0 to 255, or [red, green, blue]")
        require(value not in (ids or {}) if _is_byte(value) else True, "ignore", value, "a label that is not in ids")
        require(not ("palette" in facts and value in palette), "ignore", value, "a colour that is not in palette")

    groups = facts.get("groups", {})
    require(isinstance(groups, dict), "groups", groups, "group: [names]")
    for group, members in groups.items():
        require(
            isinstance(members, list) and len(members) > 0 and all(name in names for name in members),
            f"groups {group}",
            members,
            "names",
        )
    pairs = facts.get("flip_pairs", [])
    require(isinstance(pairs, list), "flip_pairs", pairs, "a list of [name, name]")
    for pair in pairs:
        good = isinstance(pair, list) and len(pair) == 2 and all(name in names for name in pair)
        require(good, "flip_pairs", pair, "two names that a mirror image exchanges")
    exchanged = [name for pair in pairs for name in pair]
    require(len(set(exchanged)) == len(exchanged), "flip_pairs", pairs, "each name once at most")

    classes = ClassSet.from_dict(
        {
            "name": name,
            "names": names,
            "palette": palette,
            "groups": groups,
            "flip_pairs": [[names.index(text) for text in pair] for pair in pairs],
        }
    )
    return ClassFile(
        path=path,
        classes=classes,
        has_palette="palette" in facts,
        ids=None if ids is None else {raw: names.index(text) for raw, text in ids.items()},
        ignore=tuple(value if _is_byte(value) else tuple(value) for value in ignore),
    )


def made_up(count: int) -> list[tuple[int, int, int]]:
    """Return `count` different colours, RGB 0-255; neighbours are far apart."""
    shades = ((0.9, 0.9), (0.5, 0.95), (0.95, 0.55))  # saturation, value
    colours = (colorsys.hsv_to_rgb(i * 0.618 % 1, *shades[i % len(shades)]) for i in range(count))
    return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in colours]


def _is_byte(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _is_colour(value: object) -> bool:
    return isinstance(value, Sequence) and len(value) == 3 and all(map(_is_byte, value))
