"""The parts that a configuration may name, found by their short names and built with checked settings.

A node of a configuration is a mapping with `_target_`, the name of a class or function, and its settings:

    {"_target_": "OCRHead", "channels": 64}

A part of contextseg is named without its module, so that a file may be renamed and everything that was saved before
still loads. Saved files of older versions name the module too; only the last word counts. Any other dotted path is a
part of the user's own, or of a library. What a checkpoint names is built only if it is one of contextseg's parts, or
of a package that the user trusts: `CONTEXTSEG_TRUST=my_package`.
"""

import ast
import builtins
import collections.abc
import inspect
import os
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import annotated_types

from contextseg import typed
from contextseg.block_order import RETIRED
from contextseg.errors import ConfigError

HERE = Path(__file__).parent
FOLDERS = ("backbones", "necks", "heads", "losses", "inference", "data", "datamodules", "engine")  # and `optim.py`
FUNCTIONS = ("contextseg.optim", "contextseg.engine.loggers")  # files whose functions a node may name
TRUST = "CONTEXTSEG_TRUST"  # packages, with commas between, whose parts a checkpoint may name


@cache
def index() -> dict[str, str]:
    """Map the name of every part to its module, from the text of the files alone: nothing is imported.

    Parts are classes, and the functions of `FUNCTIONS`.
    """
    files = [HERE / "optim.py", *(file for folder in FOLDERS for file in sorted((HERE / folder).rglob("*.py")))]
    found: dict[str, str] = {}
    for file in files:
        module = ".".join(("contextseg", *file.relative_to(HERE).with_suffix("").parts))
        kinds = "class|def" if module in FUNCTIONS else "class"
        for name in re.findall(rf"^(?:{kinds}) ([A-Za-z]\w*)", file.read_text(), re.MULTILINE):
            found.setdefault(name, module)
    return found


def short(target: str) -> str:
    """Cut the module off the name of a part of contextseg; leave any other path as it is."""
    return target.rpartition(".")[2] if target.startswith("contextseg.") else target


def upgrade_config(config: Any) -> Any:
    """Bring a saved configuration, or a node of it, to present names: parts without their modules.

    Settings that only ordered weights are gone (`block_order`).
    """
    if isinstance(config, Mapping):
        known = {key: upgrade_config(value) for key, value in config.items()}
        if isinstance(known.get("_target_"), str):
            known["_target_"] = short(known["_target_"])
            if known["_target_"] in RETIRED:
                known.pop(RETIRED[known["_target_"]].name, None)
        return known
    return [upgrade_config(value) for value in config] if isinstance(config, list) else config


def completed(config: Any) -> Any:
    """Fill in what the nodes of a configuration leave to the constructors of contextseg's parts.

    Two configurations mean the same if they are equal then: one may be older than a setting that the other names.
    """
    if isinstance(config, Mapping):
        known = {key: completed(value) for key, value in config.items()}
        left = defaults(short(known["_target_"])) if isinstance(known.get("_target_"), str) else {}
        return known | {key: value for key, value in left.items() if known.get(key) is None}
    return [completed(value) for value in config] if isinstance(config, list) else config


@cache
def defaults(name: str) -> dict[str, Any]:
    """Return the defaults of a part of contextseg that are plain values; of none, and of a stranger, {}."""
    if name not in index():
        return {}
    parameters = inspect.signature(find(name, "_target_")).parameters.values()
    found = {one.name: list(one.default) if isinstance(one.default, tuple) else one.default for one in parameters}
    return {key: value for key, value in found.items() if isinstance(value, bool | int | float | str | list)}


def find(target: Any, option: str, base: type | None = None) -> Callable:
    """Import the class or function that `_target_` names.

    Raises `ConfigError` if there is none, or if it is no subclass of `base`.
    """
    if not isinstance(target, str):
        raise ConfigError(f"{option}._target_={typed.shown(target)}: give the name of a class or function")
    name = short(target)
    module, _, name = name.rpartition(".") if "." in name else (index().get(name, ""), "", name)
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{option}._target_={target}: no such part ({error}); give the name of a part of contextseg, or the path "
            "package.module.Name of your own"
        ) from error
    if base is not None and not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"{option}._target_={target}: this is no {base.__name__}; give one")
    return found


def refuse_strangers(node: Any, option: str, file: str) -> None:
    """Raise `ConfigError` if a node read from `file` names, at any depth, a part that may not be built."""
    if isinstance(node, Mapping):
        target = node.get("_target_")
        if target is not None and not trusted(target):
            raise ConfigError(
                f"{file}: its {option} is {target}, no part of contextseg; nothing that a file names is built "
                f"unasked. If you trust it: {TRUST}={str(target).partition('.')[0]}"
            )
        for key, child in node.items():
            refuse_strangers(child, f"{option}.{key}", file)
    elif isinstance(node, list | tuple):
        for child in node:
            refuse_strangers(child, option, file)


def trusted(target: Any) -> bool:
    """Tell whether a file may name this part."""
    packages = os.environ.get(TRUST, "").replace(" ", "").split(",")
    return isinstance(target, str) and (short(target) in index() or target.partition(".")[0] in filter(None, packages))


@dataclass(frozen=True)
class Setting:
    """Describe a parameter of a constructor: its annotation (`Any` if it has none), and whether a value is needed."""

    annotation: Any
    needed: bool


@dataclass(frozen=True)
class Signature:
    """Describe the settings that a constructor takes; `open_ended`: it takes any others too."""

    name: str
    settings: Mapping[str, Setting]
    open_ended: bool


def make(node: Mapping[str, Any], option: str, base: type | None = None, **facts: Any) -> Any:
    """Build the object that a node describes, and the parts within it; `facts` are further arguments.

    A null means the constructor's default. Raises `ConfigError` naming the option, for a part that is no subclass of
    `base`, and for a setting that the constructor does not have, whose value is of another type than it takes, or that
    it refuses.
    """
    settings = checked(node, option, facts, build=True)
    kind = find(node["_target_"], option, base)
    try:
        return kind(*within(list(node.get("_args_", ())), option, build=True), **settings, **facts)
    except ConfigError:
        raise
    except (ValueError, RuntimeError, TypeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"{option}: {kind.__name__} refuses its settings ({reason})") from error


def check(node: Mapping[str, Any], option: str, facts: Iterable[str] = ()) -> None:
    """Check the settings of a node, and of the parts within it, without building or importing anything.

    `facts`: the arguments that are not known yet. Parts that are not contextseg's are checked when they are built.
    Raises `ConfigError` as `make` does.
    """
    checked(node, option, facts, build=False)


def checked(node: Mapping[str, Any], option: str, facts: Iterable[str], build: bool) -> dict[str, Any]:
    """Return the checked settings of a node, the parts within built if `build`."""
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise ConfigError(f"{option}={typed.shown(node)}: give an option of the group, or a mapping with _target_")
    takes = signature(node["_target_"], option, build)
    settings: dict[str, Any] = {}
    for name, value in node.items():
        if name in ("_target_", "_args_") or value is None:
            continue
        if value == "???":
            raise ConfigError(f"{option}.{name} is missing: give {option}.{name}=VALUE")
        if name not in takes.settings and not takes.open_ended:
            known = ", ".join(other for other in takes.settings if other not in facts)
            raise ConfigError(
                f"unknown option {option}.{name}={typed.shown(value)}: {takes.name} has no such setting; it has {known}"
            )
        inner = within(value, f"{option}.{name}", build)
        if name in takes.settings and (build or not has_parts(value)):
            inner = typed.check(takes.settings[name].annotation, inner, f"{option}.{name}")
        settings[name] = inner
    given = {*settings, *facts, *list(takes.settings)[: len(node.get("_args_", ()))]}
    for name, setting in takes.settings.items():
        if setting.needed and name not in given:
            raise ConfigError(f"{option}.{name}=null: {takes.name} needs it; give {option}.{name}=VALUE")
    return settings


def within(value: Any, option: str, build: bool) -> Any:
    """Return a value with the parts in it built, or only checked."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            if build:
                return make(value, option)
            check(value, option)
            return value
        return {key: within(child, f"{option}.{key}", build) for key, child in value.items()}
    return [within(child, option, build) for child in value] if isinstance(value, list | tuple) else value


def has_parts(value: Any) -> bool:
    """Tell whether there is a part in a value, at any depth."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(has_parts, value.values()))
    return isinstance(value, list | tuple) and any(map(has_parts, value))


def signature(target: Any, option: str, imported: bool = True) -> Signature:
    """Return what a constructor takes: from the text of a part of contextseg, else, if `imported`, from the object."""
    name = short(target) if isinstance(target, str) else ""
    if name in index():
        return declared(name)
    if not imported and isinstance(target, str) and "." in target:
        return Signature(target, {}, open_ended=True)
    kind = find(target, option)
    constructor = kind.__init__ if isinstance(kind, type) else kind  # type: ignore[misc]  # only read, never called
    try:
        hints = typing.get_type_hints(constructor, include_extras=True)
    except Exception:  # a library's annotation that cannot be resolved
        hints = {}
    parameters = inspect.signature(kind).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    settings = {p.name: Setting(hints.get(p.name, Any), p.default is p.empty) for p in named}
    return Signature(kind.__name__, settings, any(p.kind is p.VAR_KEYWORD for p in parameters))


@cache
def declared(name: str) -> Signature:
    """Read the signature of a part of contextseg from its file, without an import: the door must be quick."""
    file = HERE.parent.joinpath(*index()[name].split(".")).with_suffix(".py")
    nodes = ast.parse(file.read_text()).body
    (node,) = (n for n in nodes if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == name)
    if isinstance(node, ast.ClassDef):
        function = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if function is None:
            base = next((base.id for base in node.bases if isinstance(base, ast.Name) and base.id in index()), None)
            inherited = declared(base) if base else Signature(name, {}, open_ended=False)
            return replace(inherited, name=name)
        skipped = 1
    else:
        function, skipped = node, 0
    plain = function.args.args[skipped:]
    needed = [True] * (len(plain) - len(function.args.defaults)) + [False] * len(function.args.defaults)
    settings = {a.arg: Setting(_annotation(a), n) for a, n in zip(plain, needed, strict=True)}
    for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        settings[argument.arg] = Setting(_annotation(argument), default is None)
    return Signature(name, settings, function.args.kwarg is not None)


def _annotation(argument: ast.arg) -> Any:
    """Evaluate an annotation; `Any` for names that are known in its own file only."""
    if argument.annotation is None:
        return Any
    try:
        return eval(compile(ast.Expression(argument.annotation), "annotation", "eval"), {}, _Names())
    except Exception:
        return Any


class _Names(dict):
    """The names that annotations of settings use."""

    def __missing__(self, name: str) -> Any:
        for module in (typing, collections.abc, typed, builtins, annotated_types):
            if hasattr(module, name):
                return getattr(module, name)
        return Path if name == "Path" else Any
