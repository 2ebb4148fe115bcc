"""The other processes of a run: which of them was killed, as the system does when memory runs out.

The others meet an error of the connection, or wait in a collective until Lightning kills them. Either way the run says
which process was lost, and by what.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import lightning as L

PERIOD = 0.5  # seconds between two looks; Lightning kills the run at most 5 after a loss


def lost(trainer: L.Trainer, patience: float = 0.0) -> str | None:
    """Say which process that this one started was killed; None if none was within `patience` seconds.

    A process that failed by itself has recorded why.
    """
    end = time.monotonic() + patience
    while True:
        codes = [process.poll() for process in getattr(trainer.strategy.launcher, "procs", None) or []]
        if not codes:  # a run of one process waits for nobody
            return None
        if any(code and code > 0 for code in codes):
            return None
        for rank, code in enumerate(codes, start=1):
            if code and code < 0:
                hint = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
                return f"process {rank} of {len(codes) + 1} was killed by {signal.Signals(-code).name}{hint}"
        if time.monotonic() >= end:
            return None
        time.sleep(PERIOD / 5)


@contextmanager
def watched(trainer: L.Trainer, tell: Callable[[str], None]) -> Iterator[None]:
    """Call `tell` with what `lost` says as soon as a process is lost, while this one may wait for it."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(PERIOD):
            if said := lost(trainer):
                tell(said)
                return

    if trainer.world_size > 1 and trainer.is_global_zero:
        threading.Thread(target=watch, daemon=True, name="ranks").start()
    try:
        yield
    finally:
        done.set()
