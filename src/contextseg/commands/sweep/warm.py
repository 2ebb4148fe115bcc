"""A warm parent of the jobs of a sweep: it imports once what each job would import for seconds, and forks them.

It is a process of its own, which computes nothing, starts no thread and does not touch CUDA, as forks must not inherit
these. A fork gets what a new process would get: environment, streams, session, and the lock of its folder. It becomes a
child of the sweep, by the rule of Linux on orphans (prctl(2), PR_SET_CHILD_SUBREAPER). Where there is no such parent,
jobs are started one by one.
"""

import atexit
import ctypes
import gc
import json
import logging
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import IO

from contextseg.runs.lock import HANDED

log = logging.getLogger(__name__)

PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37
PYTHON = [sys.executable, "-m", "contextseg"]  # whose processes a warm parent forks
WANTED = ("contextseg.commands.entry", "contextseg.commands.train.command", "torch._dynamo", "matplotlib.pyplot")
TASKS = Path("/proc/self/task")  # has an entry for each thread


class Fork:
    """A process that somebody else has started and that is a child of this one: as `subprocess.Popen`, in brief.

    `stdin`: the end of its standard input that is ours.
    """

    def __init__(self, pid: int, stdin: IO[bytes]):
        self.pid, self.stdin = pid, stdin
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, -N for signal N; None while it runs."""
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; return the exit code. Raises `subprocess.TimeoutExpired` after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(0.02)
        return code

    def terminate(self) -> None:
        """Send SIGTERM, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


class WarmParent:
    """Fork jobs with one environment; the process that does it starts with the first one, and ends at `close`.

    `modules`: what it imports beside `WANTED`.
    """

    def __init__(self, environment: Mapping[str, str], modules: Iterable[str] = ()):
        self.environment = {"OPENBLAS_NUM_THREADS": "1", **environment}  # NumPy starts threads when it is imported
        self.command = [sys.executable, "-m", __name__, *modules]
        self.usable = sys.platform.startswith("linux") and TASKS.is_dir()
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start the process; the answer to the first request waits for its imports."""
        self.requests, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            self.command,
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            start_new_session=True,  # Ctrl-C is for the sweep
        )
        theirs.close()

    def fork(self, words: Sequence[str], env: Mapping[str, str], output: int, lock: int) -> Fork | None:
        """Fork a process that runs `contextseg <words>`; None if that cannot be done, here or any more.

        `output`: the open file of what it prints; `lock`: that of the lock of its folder.
        """
        if not self.usable:
            return None
        if self.process is None:
            self.start()
        request = json.dumps({"words": [*words], "env": dict(env)}).encode()
        stdin, ours = os.pipe()
        answer = ""
        try:
            with adopting():
                socket.send_fds(self.requests, [len(request).to_bytes(8, "big")], [stdin, output, lock])
                self.requests.sendall(request)
                answer = self.requests.recv(64).decode()
        except OSError as error:
            answer = str(error)
        finally:
            os.close(stdin)
        if answer.isdigit():
            return Fork(int(answer), os.fdopen(ours, "wb", buffering=0))
        os.close(ours)
        log.info("each job starts by itself: %s", answer or "the process that would fork them ended")
        self.close()
        return None

    def close(self) -> None:
        """End the process; its forks go on."""
        self.usable = False
        if self.process is not None:
            self.requests.close()
            self.process.terminate()
            self.process.wait()


@contextmanager
def adopting() -> Iterator[None]:
    """Become the parent of what the children of this process leave behind. Raises `OSError` if that cannot be."""
    prctl, before = ctypes.CDLL(None, use_errno=True).prctl, ctypes.c_int()
    if prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0) or prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this system does not adopt processes")
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


def unsafe() -> str:
    """Say why this process must not fork; "" if it may."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "CUDA is in use"
    threads = len(list(TASKS.iterdir()))
    return f"{threads} threads are alive after the imports" if threads > 1 else ""


def serve(requests: socket.socket) -> list[str]:
    """Fork a process for each request, and end with the sweep; in a fork, return the words of its command line."""
    while True:
        size, files, *_ = socket.recv_fds(requests, 8, 3)
        if not size:
            raise SystemExit(0)
        request = json.loads(receive(requests, int.from_bytes(size, "big")))
        if said := unsafe():
            requests.sendall(said.encode())
            raise SystemExit(1)
        told, tell = os.pipe()
        if (between := os.fork()) == 0:
            if (own := os.fork()) == 0:
                os.close(told)
                os.close(tell)
                requests.close()
                become(request["env"], *files)
                return request["words"]
            os.write(tell, str(own).encode())
            os._exit(0)
        os.waitpid(between, 0)  # from here on the fork is a child of the sweep
        os.close(tell)
        answer = os.read(told, 32)
        for file in (told, *files):
            os.close(file)
        requests.sendall(answer)


def receive(requests: socket.socket, size: int) -> bytes:
    """Read `size` bytes, fewer if the sweep is gone."""
    found = b""
    while len(found) < size and (more := requests.recv(size - len(found))):
        found += more
    return found


def become(env: Mapping[str, str], stdin: int, output: int, lock: int) -> None:
    """Take on what a new process has: its session, streams and environment. `lock` stays open."""
    os.setsid()
    for file, number in ((stdin, 0), (output, 1), (output, 2)):
        os.dup2(file, number)
    os.close(stdin)
    os.close(output)
    os.environ.clear()
    os.environ.update(env, **{HANDED: str(lock)})
    gc.enable()
    atexit.register(gc.unfreeze)  # so that what is imported is freed at the end, as in any process


def main(modules: Sequence[str]) -> None:
    """Import, serve; in a fork, run its command as `python -m contextseg` does."""
    requests = socket.socket(fileno=os.dup(0))
    gc.disable()
    for name in (*WANTED, *modules):
        with suppress(Exception):  # the job will say it
            import_module(name)
    gc.freeze()  # forks do not look through what is here, which would copy it
    words = serve(requests)
    sys.argv = ["contextseg", *words]
    runpy.run_module("contextseg", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
