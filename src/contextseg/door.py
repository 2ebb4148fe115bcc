"""The door of a command: a dataclass declares its options, `parse` checks plain values against it.

    @dataclass
    class Options:
        \"\"\"Do something.\"\"\"
        count: Count = option(12, "samples on the sheet")
        data: dict = group("context_scenes", "data set")

Name, type, range, default and meaning of an option stand there and nowhere else; `--help` prints them.
"""

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import field, fields, is_dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

from contextseg import typed
from contextseg.conf import options_of
from contextseg.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")

REQUIRED = "???"  # Hydra's word for a value that must be given
FILLED_IN = ("choices", "protocols")  # options that nobody types
LEFT_OUT = object()  # no group, and no default that is declared


def option(default: Any, meaning: str, name: str | None = None) -> Any:
    """Declare an option: its default (a dataclass for options below it, `REQUIRED` for none) and its meaning.

    `name`: what the user types, if Python has another use for the word.
    """
    metadata = {"meaning": meaning, "default": default} | ({} if name is None else {"name": name})
    if isinstance(default, type | list | dict):
        return field(
            default_factory=default if isinstance(default, type) else lambda: type(default)(default), metadata=metadata
        )
    return field(default=default, metadata=metadata)


def group(default: str | None, meaning: str, **settings: Any) -> Any:
    """Declare a config group: the option chosen by default, and settings that exist without any choice.

    A setting is given as its default, or as an `option` if no dataclass declares the settings of the group.
    """
    metadata = {"meaning": meaning, "group": True, "choice": default, "settings": settings}
    return field(default=None, metadata=metadata)


def parse(kind: type[Options], values: Mapping[str, Any], above: str = "") -> Options:
    """Check plain values against a dataclass of options and return its instance.

    `above`: the option that holds them, "trainer." say. Raises `ConfigError` for the first option that is unknown,
    missing, or has a value of another type or outside its range.
    """
    known = {declared.metadata.get("name", declared.name): declared for declared in fields(kind)}
    hints = typing.get_type_hints(kind, include_extras=True)
    for name, value in values.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {above}{near[0]}?" if near else f"there are {', '.join(above + n for n in known)}"
            raise ConfigError(f"unknown option {above}{name}={typed.shown(value)}: {hint}")
    found = {}
    for name, declared in known.items():
        value = values.get(name, _default(declared))
        if value is LEFT_OUT or (declared.metadata.get("group") and value is None):
            continue
        hint, field_name = hints[declared.name], declared.name
        if value == REQUIRED:
            meaning = declared.metadata.get("meaning", "as the chosen option does")
            raise ConfigError(f"{above}{name} is missing: give {above}{name}=..., {meaning}")
        if isinstance(hint, type) and is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{above}{name}={typed.shown(value)}: give its options one by one, {name}.OPTION=VALUE"
                )
            found[field_name] = parse(hint, value, f"{above}{name}.")
        else:
            found[field_name] = typed.check(hint, value, f"{above}{name}")
    return kind(**found)


def refuse_missing_groups(kind: "type[DataclassInstance]", values: Mapping[str, Any]) -> None:
    """Raise `ConfigError` if a group was left out that has an option by default and takes no null."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for name, declared in groups(kind).items():
        optional = type(None) in (hints[name], *typing.get_args(hints[name]))
        if values.get(name) is None and declared.metadata["choice"] and not optional:
            known = ", ".join(options_of(name))
            raise ConfigError(f"{name}=null: {declared.metadata['meaning']} needed; choose one of {known}")


def _default(declared: dataclasses.Field) -> Any:
    """Return the plain value of an option that was left out; null where it refers to another option."""
    value = declared.metadata.get("default", LEFT_OUT)
    if isinstance(value, type):
        return {} if is_dataclass(value) else value()
    return None if isinstance(value, str) and "${" in value else value


def defaults(kind: "type[DataclassInstance]") -> dict[str, Any]:
    """Return the plain values that a dataclass of options declares, without groups."""
    found = {}
    for declared in fields(kind):
        if "default" in declared.metadata:
            value = declared.metadata["default"]
            if isinstance(value, type) and is_dataclass(value):
                value = defaults(value)
            found[declared.metadata.get("name", declared.name)] = value
    return found


def settings(declared: dataclasses.Field) -> dict[str, Any]:
    """Return the settings of a config group that exist without any choice, and their defaults."""
    given = declared.metadata["settings"].items()
    return {name: one.metadata["default"] if isinstance(one, dataclasses.Field) else one for name, one in given}


def groups(kind: "type[DataclassInstance]") -> dict[str, dataclasses.Field]:
    """Return the config groups that a dataclass of options declares, in their order."""
    return {declared.name: declared for declared in fields(kind) if declared.metadata.get("group")}
