"""The text of `--help`: every option with its type, default and meaning, every group with its options."""

import typing
from dataclasses import fields, is_dataclass
from inspect import cleandoc
from textwrap import fill

from contextseg.commands.table import COMMANDS
from contextseg.conf import options_of
from contextseg.door import REQUIRED, groups
from contextseg.typed import shown, wanted

WIDTH = 110


def overview() -> str:
    """Describe all commands, a line each."""
    lines = (
        f"  {name:<12}{cleandoc(command.options_class().__doc__ or '').splitlines()[0]}"
        for name, command in COMMANDS.items()
    )
    return "\n".join(["contextseg COMMAND [option=value ...]      contextseg COMMAND --help", "", *lines])


def command_help(name: str) -> str:
    """Describe a command: its purpose, its options, its groups and the settings that they all have."""
    kind = COMMANDS[name].options_class()
    parts = [cleandoc(kind.__doc__ or ""), "Options (option=value)", *_options(kind)]
    if chosen := groups(kind):
        parts += ["Groups (group=option)", *map(_group, chosen.items())]
        hints = typing.get_type_hints(kind, include_extras=True)
        for group in chosen:
            if is_dataclass(hints[group]):
                parts += [f"Settings of every {group}= ({group}.setting=value)", *_options(hints[group], f"{group}.")]
        parts.append("Settings of the chosen options: --cfg job prints them all, with their values.")
    parts.append("A value with spaces, = , [ ] { } or ~ needs two pairs of quotes:  'input=\"my photo.jpg\"'")
    return "\n\n".join(parts)


def _options(kind: type, above: str = "") -> list[str]:
    """Describe the options of a dataclass, those below them too."""
    hints = typing.get_type_hints(kind, include_extras=True)
    found: list[str] = []
    for declared in fields(kind):
        if "default" not in declared.metadata or declared.name == "choices":
            continue
        default, name = declared.metadata["default"], above + declared.metadata.get("name", declared.name)
        if isinstance(default, type) and is_dataclass(default):
            found += _options(default, f"{name}.")
            continue
        value = "required" if default == REQUIRED else f"default {shown(default)}"
        text = f"{name}: {declared.metadata['meaning']} ({wanted(hints[declared.name])}; {value})"
        found.append(fill(text, WIDTH, initial_indent="  ", subsequent_indent="      "))
    return found if above else ["\n".join(found)]


def _group(item: tuple) -> str:
    name, declared = item
    choice = declared.metadata["choice"] or "none"
    text = f"{name}: {declared.metadata['meaning']} (default {choice})\n"
    return text + fill(", ".join(options_of(name)), WIDTH, initial_indent="      ", subsequent_indent="      ")
