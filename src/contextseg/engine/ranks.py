"""The other processes of a run: which of them was killed, as the system does when memory runs out.

The others meet an error of the connection, or wait in a collective until Lightning kills them. Either way the run says
which process was lost, and by what. Of processes that torchrun or srun started (`runs.outside`) each holds a lock below
the run folder, `ranks/<number>/`: the lock of a process that is gone can be taken, and names it and its machine.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import lightning as L

from contextseg.engine.options import TrainerOptions
from contextseg.runs.folder import RunFolder
from contextseg.runs.lock import RunLock, held

PERIOD = 0.5  # seconds between two looks; Lightning kills the run at most 5 after a loss


class ProcessGone(RuntimeError):
    """Processes of this run are gone; the message names them. This one ends because of that."""


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
def present(folder: Path, rank: int) -> Iterator[None]:
    """Hold the lock of a process that was started from outside.

    After an error its record stays behind, unlocked, unless others caused it.
    """
    own = RunLock(folder / "ranks" / str(rank))
    own.path.parent.mkdir(parents=True, exist_ok=True)
    own.take()
    try:
        yield
    except ProcessGone:
        raise
    except Exception:
        own.hand_over()
        raise
    finally:
        if own.file >= 0:
            own.release()
            for place in (own.path.parent, own.path.parent.parent):
                with suppress(OSError):  # others are there
                    place.rmdir()


def gone(folder: RunFolder, node: TrainerOptions, patience: float = 3.0) -> str | None:
    """Say which processes of a run that was started from outside are gone, and what was recorded of the first end.

    Returns None if none is within `patience` seconds.
    """
    size, end = node.devices * (node.nodes or 1), time.monotonic() + patience
    places = {rank: folder.path / "ranks" / str(rank) for rank in range(size)}
    while True:
        missing = {
            rank: owner for rank, place in places.items() if (owner := RunLock(place).owner()) and not held(place)
        }
        if missing:
            lost = ", ".join(
                f"process {rank} of {size} (node {rank // node.devices}, {owner.get('host')})"
                for rank, owner in missing.items()
            )
            recorded = folder.read_metrics().get("error")
            return lost + (f"; recorded: {recorded}" if recorded else "")
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
