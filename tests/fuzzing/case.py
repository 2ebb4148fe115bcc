"""One input of the fuzzer, and what may come of it: the right answer, or one line of refusal."""

import random
import signal
import string
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from contextseg.commands.explain_error import of_the_disk
from contextseg.errors import ConfigError

SECONDS = 30  # that an input may take
MAX_LINE = 2000  # characters of a refusal


class Fault(AssertionError):
    """A wrong answer, a hang, a traceback, or a refusal that does not say what is wrong."""


class Hang(BaseException):
    """The answer takes too long; no `except Exception` swallows it."""


class Case(NamedTuple):
    """An input.

    shown  what it is, in words
    ask    gives it to contextseg: raises `ConfigError` for a refusal, `Fault` for a wrong answer
    named  of which a refusal must name one; (): any refusal will do
    must   it is right, so that it may not be refused
    """

    shown: str
    ask: Callable[[], None]
    named: tuple[str, ...] = ()
    must: bool = False


def verdict(case: Case, seconds: float = SECONDS) -> str:
    """Tell "right" or "refused". Raises `Fault` for anything else."""
    try:
        with within(seconds):
            case.ask()
    except ConfigError as refusal:
        check_refusal(case, str(refusal))
        return "refused"
    except Fault:
        raise
    except OSError as error:  # which a command explains, if it names a file
        if not of_the_disk(error):
            raise Fault(f"traceback: {error!r} in {place(error)}") from error
        check_refusal(case, of_the_disk(error))
        return "refused"
    except Hang as error:
        raise Fault(f"hang: no answer within {seconds} s, in {place(error)}") from None
    except Exception as error:
        raise Fault(f"traceback: {type(error).__name__}: {str(error)[:200]} in {place(error)}") from error
    return "right"


def check_refusal(case: Case, said: str) -> None:
    """Raise `Fault` unless a refusal is one line that names what it is about."""
    if case.must:
        raise Fault(f"refused, but right: {said}")
    if "\n" in said.strip() or len(said) > MAX_LINE:
        raise Fault(f"not one line: {said[:MAX_LINE]!r}")
    if case.named and not any(" ".join(name.split()) in said for name in case.named):
        raise Fault(f"names none of {case.named}: {said}")


def place(error: BaseException) -> str:
    """Name the innermost line of contextseg in a traceback, and the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "contextseg" in frame.filename] or frames
    lines = [f"{one.filename.rpartition('/')[2]}:{one.lineno}" for one in (ours[-1], frames[-1])]
    return ", ".join(dict.fromkeys(lines))


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `Hang` in what takes longer."""

    def stop(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def damaged(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    """Change a few bits, cut the end off, empty a block, or insert or remove bytes; says which."""
    how = rng.choice(("flip", "flip", "flip", "cut", "cut", "zero", "insert", "remove", "nothing left", "tail"))
    if not data or how == "nothing left":
        return how, b""
    place, changed = rng.randrange(len(data)), bytearray(data)
    length = rng.randint(1, 16)
    if how == "flip":
        bits = [rng.randrange(8 * len(data)) for _ in range(rng.choice((1, 1, 2, 8)))]
        for bit in bits:
            changed[bit // 8] ^= 1 << bit % 8
        return f"flip bits {bits}", bytes(changed)
    if how == "cut":
        return f"cut to {place} of {len(data)} bytes", data[:place]
    if how == "zero":
        changed[place : place + length] = bytes(len(changed[place : place + length]))
        return f"zero {length} bytes at {place}", bytes(changed)
    if how == "insert":
        return f"insert {length} bytes at {place}", data[:place] + rng.randbytes(length) + data[place:]
    if how == "remove":
        return f"remove {length} bytes at {place}", data[:place] + data[place + length :]
    return f"{length} bytes behind the end", data + rng.randbytes(length)


LETTERS = string.ascii_letters + string.digits + " .,:;-_+=~*?!#%&|/\\'\"()[]{}<>$@^`\t\né日ß\u202e\x00"
VALUES: dict[str, Any] = {  # as typed -> as Python reads it
    "0": 0,
    "1": 1,
    "-1": -1,
    "7": 7,
    "1.5": 1.5,
    "-0.5": -0.5,
    "1e-3": 1e-3,
    "1e300": 1e300,
    "99999999999999999999999": 99999999999999999999999,
    "4294967296": 4294967296,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "true": True,
    "False": False,
    "null": None,
    "abc": "abc",
    "auto": "auto",
    "none": "none",
    "'1'": "1",
    "'two words'": "two words",
    "'a=b'": "a=b",
    "''": "",
    "日本": "日本",
    "ü": "ü",
    "../..": "../..",
    "/dev/null": "/dev/null",
    "/": "/",
    "a" * 300: "a" * 300,
    "[]": [],
    "[1]": [1],
    "[1,2]": [1, 2],
    "[64,64]": [64, 64],
    "[1,null]": [1, None],
    "[nan,inf]": [float("nan"), float("inf")],
    "[a,b]": ["a", "b"],
    "[[1],[2]]": [[1], [2]],
    "{}": {},
    "{a:1}": {"a": 1},
    "{a:{b:[1]}}": {"a": {"b": [1]}},
    "0x10": "0x10",
    "1_000": 1000,
    "1e400": float("inf"),
}


def text(rng: random.Random, most: int = 12) -> str:
    """Draw some characters."""
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(0, most)))


def plain_value(rng: random.Random, depth: int = 2) -> Any:
    """Draw what YAML or JSON may hold."""
    kind = rng.randrange(7 if depth else 5)
    if kind < 3:
        return rng.choice(list(VALUES.values()))
    if kind == 3:
        return text(rng)
    if kind == 4:
        return rng.choice((rng.randint(-300, 300), rng.uniform(-2, 2), 2**63, -(2**70)))
    if kind == 5:
        return [plain_value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    return {text(rng, 4): plain_value(rng, depth - 1) for _ in range(rng.randint(0, 3))}


def mutated(rng: random.Random, node: Any) -> tuple[str, Any]:
    """Remove, add or replace something at a random place of nested containers, which are copied; says what."""
    if isinstance(node, dict) and node and rng.random() < 0.9:
        key = rng.choice(list(node))
        if rng.random() < 0.15:
            return f"no {key}", {name: value for name, value in node.items() if name != key}
        if rng.random() < 0.05:
            return "a key more", node | {text(rng, 5): plain_value(rng)}
        said, child = mutated(rng, node[key])
        return f"{key}/{said}", node | {key: child}
    if isinstance(node, list | tuple) and node and rng.random() < 0.8:
        place = rng.randrange(len(node))
        if rng.random() < 0.3:
            return f"no [{place}]", [*node[:place], *node[place + 1 :]]
        if rng.random() < 0.3:
            return f"[{place}] twice", [*node[:place], node[place], *node[place:]]
        said, child = mutated(rng, node[place])
        return f"[{place}]/{said}", [*node[:place], child, *node[place + 1 :]]
    value = plain_value(rng)
    return f"= {value!r:.100}", value
