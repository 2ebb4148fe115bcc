"""A process of a run that is killed is named, whether the others meet an error or wait."""

import time
from types import SimpleNamespace

import pytest

from contextseg.engine import ranks


def trainer(*codes):
    """Stands for Lightning's, whose other processes ended with these codes; None: still at work."""
    processes = [SimpleNamespace(poll=lambda code=code: code) for code in codes]
    launcher = SimpleNamespace(procs=processes)
    return SimpleNamespace(strategy=SimpleNamespace(launcher=launcher), world_size=len(codes) + 1, is_global_zero=True)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ((None, -9), "process 2 of 3 was killed by SIGKILL, as the system does when memory runs out"),
        ((-11,), "process 1 of 2 was killed by SIGSEGV"),
        ((None, None), None),
        ((0, 0), None),
        ((-9, 1), None),  # the second failed, has recorded why, and the first was killed for it
    ],
)
def test_the_process_and_the_signal_are_named(codes, said):
    assert ranks.lost(trainer(*codes)) == said


def test_one_process_has_no_others_to_wait_for(monkeypatch):
    monkeypatch.setattr(ranks.time, "sleep", lambda seconds: pytest.fail(f"it waited for {seconds} s"))
    assert ranks.lost(SimpleNamespace(strategy=SimpleNamespace(launcher=None)), patience=3600) is None


def test_it_is_told_while_this_process_waits(monkeypatch):
    monkeypatch.setattr(ranks, "PERIOD", 0.001)
    told = []
    with ranks.watched(trainer(-9), told.append):
        while not told:
            time.sleep(0.001)
    assert told == ["process 1 of 2 was killed by SIGKILL, as the system does when memory runs out"]
