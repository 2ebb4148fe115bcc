"""The lock of a run folder, held while its run lives, so that no second process writes there.

`run.lock` is an open file under a lock of the operating system, which ends with the process whatever ends it, a reboot
too; on NFS the server keeps it for all machines. It names its owner: host, process and start. Where a file system has
no locks, that record alone decides: an owner on this machine is looked up, one on another is believed.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from contextseg.errors import ConfigError
from contextseg.files import lock
from contextseg.runs.folder import rank

NAME = "run.lock"
HANDED = "CONTEXTSEG_LOCK"  # by which a sweep hands the lock to a job: the number of the open file
BOOT = Path("/proc/sys/kernel/random/boot_id")

ours: set[int] = set()  # the open files of this process


def leave_to_the_parent() -> None:
    """Close the locks in a fork: a loader's worker that outlives its run must not keep the folder."""
    while ours:
        os.close(ours.pop())


os.register_at_fork(after_in_child=leave_to_the_parent)


class RunLock:
    """Lock a run folder: `take`, then `release`, or `hand_over` to a process that inherited `file`.

    `file`: the number of the open file; -1: not taken.
    """

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self.file = -1

    def take(self) -> bool:
        """Take the lock, or the one that a sweep handed to this process; return False if another process has it."""
        handed = os.environ.pop(HANDED, "")
        if handed and self._is(int(handed)):
            self.file = int(handed)
            os.set_inheritable(self.file, False)
        while self.file < 0:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            locked = lock(file)
            if locked is False or (locked is None and lives(self.owner())):
                os.close(file)
                return False
            if self._is(file):
                self.file = file
            else:  # its last owner has just removed it
                os.close(file)
        ours.add(self.file)
        record = json.dumps(myself()).encode()
        os.ftruncate(self.file, 0)
        os.pwrite(self.file, record, 0)
        return True

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if self.file >= 0:
            self.path.unlink(missing_ok=True)
            self.hand_over()

    def hand_over(self) -> None:
        """Close the file, which stays locked while another process has it open."""
        if self.file >= 0:
            ours.discard(self.file)
            os.close(self.file)
            self.file = -1

    def owner(self) -> dict[str, Any]:
        """Return the record of the owner; {} if there is none."""
        with suppress(OSError, ValueError):
            found = json.loads(self.path.read_text())
            return found if isinstance(found, dict) else {}
        return {}

    def _is(self, file: int) -> bool:
        """Tell whether an open file is still that of the path."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        return False


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder; the processes that rank 0 starts share it.

    Raises `ConfigError`, which names the owner, if another run works there.
    """
    if rank():
        yield
        return
    own = RunLock(folder)
    if not own.take():
        raise ConfigError(busy(folder))
    try:
        yield
    finally:
        own.release()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of runs for a moment's work; make the folder, and wait for whoever else works there.

    After a minute the wait ends without the lock: nobody needs it that long, so its owner is gone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own, end = RunLock(folder), time.monotonic() + 60
    while not own.take() and time.monotonic() < end:
        time.sleep(0.05)
    try:
        yield
    finally:
        own.release()


def held(folder: Path) -> bool:
    """Tell whether a process works in a folder."""
    trial = RunLock(folder)
    try:
        file = os.open(trial.path, os.O_RDWR)
    except OSError:
        return False
    try:
        locked = lock(file)
        return lives(trial.owner()) if locked is None else not locked
    finally:
        os.close(file)


def busy(folder: Path) -> str:
    """Say who works in a folder, and what to do."""
    lock_file = RunLock(folder)
    owner = {"pid": "?", "host": "?", "since": "?"} | lock_file.owner()
    return (
        f"{folder} is in use by another run (process {owner['pid']} on {owner['host']}, since {owner['since']}); wait "
        "for its end or stop it, or start a new run with resume=null (if that process is gone, and the file system has "
        f"no locks, delete {lock_file.path})"
    )


def myself() -> dict[str, Any]:
    """Return the record of this process; `start` differs between processes of one number, after a reboot too."""
    pid, since = os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S")
    return {"host": socket.gethostname(), "pid": pid, "since": since, "start": start_of(pid)}


def lives(owner: dict[str, Any]) -> bool:
    """Tell whether the process of a record is still there; one on another machine counts as there."""
    if not owner or owner.get("host") != socket.gethostname():
        return bool(owner)
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except (OSError, KeyError, TypeError):  # another user's; a broken record
        return True
    return start_of(owner["pid"]) == owner.get("start")


def start_of(pid: int) -> str | None:
    """Return boot and clock tick in which a process began; None where /proc does not tell."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{BOOT.read_text().strip()} {ticks}"
    except (OSError, IndexError):
        return None
