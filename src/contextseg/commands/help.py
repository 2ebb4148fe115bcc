"""The text of `--help`: every option with its type, default and meaning, every group with its options."""

import typing
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from inspect import cleandoc
from textwrap import fill
from typing import Any

from contextseg.commands.table import COMMANDS
from contextseg.conf import options_of
from contextseg.door import FILLED_IN, REQUIRED, groups, settings
from contextseg.typed import shown, wanted

WIDTH = 110
AS_TRAINED = "default: as trained"
QUOTES = """Text that contains a space or one of the characters = , [ ] { } ~ needs two pairs of quotes:
  'input="my photo.jpg"'
Lists do not: [a,b]"""


def overview() -> str:
    """Describe all commands, a line each."""
    lines = (
        f"  {name:<22}{cleandoc(command.options_class().__doc__ or '').splitlines()[0]}"
        for name, command in COMMANDS.items()
    )
    return "\n".join(["contextseg COMMAND [option=value ...]      contextseg COMMAND --help", "", *lines])


def command_help(name: str) -> str:
    """Describe a command: its purpose, its options, its groups and the settings that they all have."""
    kind = COMMANDS[name].options_class()
    chosen, hints = groups(kind), typing.get_type_hints(kind, include_extras=True)
    parts = [cleandoc(kind.__doc__ or ""), "Options (option=value)", "\n".join(_options(kind))]
    if "experiment" in chosen and (recipe := chosen["experiment"].metadata["choice"]) != "none":
        parts.append(
            f"These are the defaults of experiment=none. The default experiment, {recipe}, and the head change some\n"
            "of them; --cfg job prints what you get."
        )
    if chosen:
        parts += [
            "Groups (group=option)",
            *(_group(group, declared, hints[group]) for group, declared in chosen.items()),
        ]
        for group, declared in chosen.items():
            if found := _settings(group, declared, hints[group]):
                parts += [f"Settings of every {group}= ({group}.setting=value)", "\n".join(found)]
        parts.append("Settings of the chosen options: --cfg job prints them all, with their values.")
    return "\n\n".join([*parts, _also(sweeps="sweep" in COMMANDS[name].hydra, groups=bool(chosen)), QUOTES])


def _also(*, sweeps: bool, groups: bool) -> str:
    """Describe what a command line may hold beside options and groups."""
    lines = {
        "--cfg job": "prints the composed configuration and stops; --resolve beside it replaces references",
        "+option=value": "adds a setting that is not listed",
    }
    lines |= {"~group": "leaves a group out"} if groups else {}
    lines |= {"-m": "runs a job for each combination of values, option=a,b"} if sweeps else {}
    return "\n".join(["Also", *(f"  {word:<15}{meaning}" for word, meaning in lines.items())])


def _options(kind: type, above: str = "", only: Mapping[str, Any] | None = None) -> list[str]:
    """Describe the options of a dataclass, those below them too; or `only` some, with other defaults."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found: list[str] = []
    for declared in fields(kind):
        if "default" not in declared.metadata or declared.name in FILLED_IN:
            continue
        if only is not None and declared.name not in only:
            continue
        default, name = declared.metadata["default"], above + declared.metadata.get("name", declared.name)
        if isinstance(default, type) and is_dataclass(default):
            found += _options(default, f"{name}.")
            continue
        value = "required" if default == REQUIRED else f"default {shown(default)}"
        if only is not None:
            value = AS_TRAINED if only[declared.name] is None else f"default {shown(only[declared.name])}"
        found.append(_line(name, declared.metadata["meaning"], f"{wanted(hints[declared.name])}; {value}"))
    return found


def _settings(group: str, declared: Field, kind: Any) -> list[str]:
    """Describe the settings that a group has whatever is chosen."""
    given, choice = settings(declared), declared.metadata["choice"]
    if is_dataclass(kind) and isinstance(kind, type):
        return _options(kind, f"{group}.", given or None) if given or choice else []
    meanings = {name: one.metadata["meaning"] for name, one in declared.metadata["settings"].items()}
    return [
        _line(f"{group}.{name}", meanings[name], f"default {shown(value)}" if choice else AS_TRAINED)
        for name, value in given.items()
    ]


def _line(name: str, meaning: str, facts: str) -> str:
    return fill(f"{name}: {meaning} ({facts})", WIDTH, initial_indent="  ", subsequent_indent="      ")


def _group(name: str, declared: Field, kind: Any) -> str:
    """Describe a group and its options; one without a choice that holds settings has those of the checkpoint."""
    choice = declared.metadata["choice"] or ("none" if kind is type(None) else None)
    text = f"{name}: {declared.metadata['meaning']} ({f'default {choice}' if choice else AS_TRAINED})\n"
    return text + fill(", ".join(options_of(name)), WIDTH, initial_indent="      ", subsequent_indent="      ")
