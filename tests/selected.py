"""Cases of one kind, of which a few are quick: the others repeat the same check and are part of `make test-all`."""

from collections.abc import Iterable

import pytest

PAPERS = ("agln", "ccnet", "cpnet", "ctnet", "ocr")  # the heads of the five papers


def quick(cases: Iterable, chosen: Iterable) -> list:
    """The cases as parameters; those that are not `chosen` (the case, or its text) are slow."""
    chosen, cases = set(chosen), list(cases)
    assert chosen <= {*map(str, cases)}, f"no such case: {chosen - {*map(str, cases)}}"
    return [case if str(case) in chosen else slow(case) for case in cases]


def slow(case: object) -> object:
    """A case of `make test-all` alone; a tuple is one of several parameters."""
    return pytest.param(*(case if isinstance(case, tuple) else [case]), marks=pytest.mark.slow)
