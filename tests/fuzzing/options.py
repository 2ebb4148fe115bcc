"""Words of a command line: composed and checked as the command does it, nothing is run."""

import math
import random
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from contextseg.commands.compose import compose, register
from contextseg.commands.explain_error import explain, known_options
from contextseg.commands.table import COMMANDS
from contextseg.conf import options_of
from contextseg.door import groups
from contextseg.errors import ConfigError
from fuzzing.case import VALUES, Case, Fault, text
from fuzzing.world import World

NAME_OF = {"source": "from"}  # of `convert`


@cache
def known(command: str) -> tuple[str, ...]:
    """List the options of a command, and the settings of the parts that it has by default."""
    return tuple(known_options(compose(config_name=command)))


@cache
def groups_of(command: str) -> tuple[str, ...]:
    """List the groups of a command."""
    return tuple(groups(register(command)))


ODD = (
    *("", "[", "]", "{", "}", "[1,", "{a", "a b", "a=b", "a,b", "1,2", "range(1,3)", "choice(1,2)", "glob(*)"),
    *(
        "${name}",
        "${",
        "${nope}",
        "${oc.env:NOPE}",
        "${oc.env:HOME}",
        "${paths.runs}",
        "${nope:1}",
        "???",
        "'",
        '"',
        "\\",
    ),
    *(
        "int(3)",
        "float(x)",
        "{_target_:os.system}",
        "{_target_:FCNHead}",
        "{_target_:[1]}",
        "{_target_:nope.X}",
        "@",
        "~",
    ),
    *(
        "a\nb",
        "\x00",
        "\u202e",
        "🙂",
        "sort(2,1)",
        "extend_list(1)",
        "${.}",
        "${..name}",
        "${a}${b}",
        "%",
        "!!python/x",
    ),
)


def key(rng: random.Random, command: str) -> str:
    """Draw the name of an option or group, or something like one."""
    kind = rng.random()
    if kind < 0.15 and groups_of(command):
        return rng.choice(groups_of(command))
    name = rng.choice(known(command))
    if kind < 0.8:
        return name
    place = rng.randrange(len(name))
    return rng.choice(
        (
            name[:place] + name[place + 1 :],
            name[:place] + rng.choice("xyz.") + name[place:],
            f"{name}.{rng.choice(('a', '0', '', '_target_'))}",
            name.rpartition(".")[0],
            name.upper(),
            f"/{name}",
            f"{name}@{name}",
            f"{name}:",
            f"hydra.{name}",
            text(rng),
        )
    )


def word(rng: random.Random, command: str) -> tuple[str, str, Any]:
    """Draw a word of a command line; returns it, its key, and the value that it asks for (... if unknown)."""
    if rng.random() < 0.05:
        return (noise := text(rng)), noise.partition("=")[0], ...
    name, prefix = key(rng, command), rng.choice(("", "", "", "", "", "", "+", "++", "~"))
    if name in groups_of(command) and rng.random() < 0.7:
        return (
            f"{prefix}{name}={(choice := rng.choice([*options_of(name), 'null', 'nope', '']))}",
            name,
            (choice,) and ...,
        )
    if prefix == "~" and rng.random() < 0.5:
        return f"~{name}", name, ...
    if rng.random() < 0.3:
        return f"{prefix}{name}={rng.choice((rng.choice(ODD), text(rng)))}", name, ...
    typed = rng.choice(list(VALUES))
    return f"{prefix}{name}={typed}", name, ... if prefix == "~" or name in groups_of(command) else VALUES[typed]


def draw(rng: random.Random, world: World) -> Case:
    """Draw a command and one to three words for it."""
    command = rng.choice(list(COMMANDS))
    words = [word(rng, command) for _ in range(rng.choice((1, 1, 2, 3)))]
    if rng.random() < 0.1:
        words.append(rng.choice(words))
    line = [*world.needed(command), *(one for one, *_ in words)]
    asked = {name: value for _, name, value in words}
    for name in list(asked):  # what another word may overrule is not known
        if any(
            other != name and (f"{other}.".startswith(f"{name}.") or f"{name}.".startswith(f"{other}."))
            for other in asked
        ):
            asked[name] = ...
    named = [part for _, name, _ in words for part in (name, name.rpartition(".")[2], name.partition(".")[0])]
    named += [one.partition("=")[2] for one, *_ in words if len(one.partition("=")[2]) > 2]
    named += ["cannot read"] if any(not name.strip("+~") for _, name, _ in words) else []
    return Case(f"{command} {line}", lambda: ask(command, line, asked), tuple(filter(None, named)))


def ask(command: str, words: list[str], asked: dict[str, Any]) -> None:
    """Compose and check; the options must hold what was asked for."""
    cfg = None
    try:
        cfg = compose(words, command)
        found = COMMANDS[command].check(cfg)
    except Exception as error:
        said, code = explain(error, command, words if cfg is None else ())
        if code != 2 or not said:
            raise
        raise ConfigError(said) from error
    for name, value in asked.items():
        if value is ... or name.startswith("hydra."):
            continue
        if isinstance(value, dict):  # merged into what is there
            continue
        if not same(there := OmegaConf.to_container(OmegaConf.create({"x": OmegaConf.select(cfg, name)}))["x"], value):
            raise Fault(f"silent: {name} is {there!r} in the configuration, not {value!r}")
        if is_dataclass(found) and (there := within(found, name)) is not ... and not same(there, value):
            raise Fault(f"silent: {name} is {there!r} in the options, not {value!r}")


def within(options: Any, name: str) -> Any:
    """Return the value of an option in a dataclass of options; ... if it is not declared there."""
    for part in name.split("."):
        if not is_dataclass(options):
            return ...
        names = {
            declared.metadata.get("name", declared.name): declared.name
            for declared in options.__dataclass_fields__.values()
        }
        if part not in names:
            return ...
        options = getattr(options, names[part])
    return options


def same(one: Any, other: Any) -> bool:
    """Compare values as the options hold them: lists for tuples, text for paths, one entry for a list of it."""
    if isinstance(one, Path):
        return isinstance(other, str) and one == Path(other).expanduser()
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, list) and len(one) == 1:
        return same(one[0], other)
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other)
    return bool(one == other)
