"""Importing without the collector of cycles, which would look through what is imported, and is kept, again and again.

Measured: a quarter of the time in which Lightning is imported (docs/performance.md).
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any


@contextmanager
def uncollected() -> Iterator[None]:
    """Switch Python's collector of reference cycles off inside; what is due is collected afterwards."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def named(path: str) -> Any:
    """Import "module:name" of contextseg, without the collector, and return what has this name."""
    module, _, name = path.partition(":")
    with uncollected():
        return getattr(import_module(f"contextseg.{module}"), name)
