"""Checks of plain values against type annotations, with messages that name the option, its value and the way out.

A configuration holds what YAML holds: null, true, numbers, text, lists and mappings. An annotation says which of them
an option takes: `int`, `float | None`, `Sequence[int]`, `Literal["auto", "none"]`, or one of the ranges below. pydantic
does the checking, strictly: no text is taken for a number and no `true` for 1.
"""

import json
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf
from pydantic import ConfigDict, TypeAdapter, ValidationError

from contextseg.errors import ConfigError

Count = Annotated[int, Ge(1)]
Natural = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Level = Annotated[int, Ge(0), Le(255)]
Colour = tuple[Level, Level, Level]  # RGB

STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
UNIONS = (Union, types.UnionType)
MAX_SHOWN = 120  # characters of a value in a message


def check(annotation: Any, value: Any, option: str) -> Any:
    """Return `value` as the annotation wants it: a list as the tuple, text as the path.

    Raises `ConfigError` with one line, such as "trainer.max_steps=abc: give a whole number, 1 or more".
    """
    try:
        found = _adapter(annotation).validate_json(json.dumps(value))
    except TypeError:  # parts that were built already, which JSON does not hold
        try:
            return _adapter(annotation).validate_python(value)
        except ValidationError as error:
            raise _refusal(annotation, value, option, error) from None
    except ValidationError as error:
        raise _refusal(annotation, value, option, error) from None
    return _expanded(found)


def _expanded(value: Any) -> Any:
    """Replace a leading `~/` of a path by the user's home folder; `~name` is a name like any other."""
    if isinstance(value, list):
        return [_expanded(one) for one in value]
    return value.expanduser() if isinstance(value, Path) and value.parts[:1] == ("~",) else value


@cache
def _adapter(annotation: Any) -> TypeAdapter:
    return TypeAdapter(annotation, config=STRICT)


def _refusal(annotation: Any, value: Any, option: str, error: ValidationError) -> ConfigError:
    whole = shown(value)
    detail = ""
    place = [part for part in error.errors()[0]["loc"] if isinstance(part, int)]
    if place and isinstance(value, Sequence) and not isinstance(value, str) and place[0] < len(value):
        detail = f" (entry {place[0] + 1} is {shown(value[place[0]])})"
    words = wanted(annotation)
    takes_text = not isinstance(value, str) and {"text", "a path"} & set(re.split(",? or ", words))
    quotes = f"; quoted twice:  '{option}=\"{whole}\"'" if takes_text else ""
    return ConfigError(f"{option}={whole}{detail}: give {words}{quotes}")


def shown(value: Any) -> str:
    """Write a value as one would type it on the command line, in one line, what is not printable escaped.

    It is cut off behind `MAX_SHOWN` characters, and no more of it is looked at, however large or deep it is.
    """
    text = ""
    for piece in _pieces(value):
        text += piece
        if len(text) > MAX_SHOWN:
            return f"{text[:MAX_SHOWN]}..."
    return text


def _pieces(value: Any) -> Iterator[str]:
    if value is None or isinstance(value, bool):
        yield {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, Mapping):
        yield "{"
        for count, (key, item) in enumerate(value.items()):
            yield f"{',' if count else ''}{_printable(key)}:"
            yield from _pieces(item)
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        for count, item in enumerate(value):
            yield "," if count else ""
            yield from _pieces(item)
        yield "]"
    else:
        yield _printable(value)


def _printable(value: Any) -> str:
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in str(value))


def wanted(annotation: Any) -> str:
    """Describe in words what an annotation takes: "a whole number, 1 or more, or null".

    A text in `Annotated` takes the place of the words.
    """
    if get_origin(annotation) in UNIONS:
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        words = [wanted(kind) for kind in kinds]
        if len(kinds) < len(get_args(annotation)):
            words.append("null")
        *first, last = words
        return " or ".join(first) + (", or " if any("," in word for word in first) else " or ") + last
    if get_origin(annotation) is Annotated:
        kind, *marks = get_args(annotation)
        own_words = [mark for mark in marks if isinstance(mark, str)]
        return own_words[0] if own_words else f"{wanted(kind)}{_range(marks)}"
    if get_origin(annotation) is Literal:
        choices = list(dict.fromkeys(shown(choice) for choice in get_args(annotation)))
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    return _plain(annotation)


def _plain(annotation: Any) -> str:
    words = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        Path: "a path",
        type(None): "null",
    }
    if annotation in words:
        return words[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple and arguments and Ellipsis not in arguments:
        names = ",".join("abcdef"[: len(arguments)])
        return f"a list of {len(arguments)}, [{names}], each {wanted(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping {name: value}"
    if isinstance(origin, type) and issubclass(origin, Iterable):
        return f"a list [a,b,...], each {wanted(arguments[0])}" if arguments else "a list"
    return f"a {annotation.__name__}" if isinstance(annotation, type) else str(annotation)


def _range(marks: Iterable[Any]) -> str:
    words = []
    for mark in marks:
        if isinstance(mark, Ge):
            words.append(f"{mark.ge} or more")
        elif isinstance(mark, Gt):
            words.append(f"above {mark.gt}")
        elif isinstance(mark, Le):
            words.append(f"at most {mark.le}")
        elif isinstance(mark, Lt):
            words.append(f"below {mark.lt}")
        elif isinstance(mark, MultipleOf):
            words.append(f"a multiple of {mark.multiple_of}")
        elif isinstance(mark, MinLen):
            words.append("not empty" if mark.min_length == 1 else f"{mark.min_length} entries or more")
    return "".join(f", {word}" for word in words)
