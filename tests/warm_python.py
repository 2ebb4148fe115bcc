"""Commands in processes of their own that need no start: forks of a process that has imported everything.

A command imports for seconds what it then uses for one. `WarmPopen` is `subprocess.Popen`, but a Python that it should
start is a fork that runs the same arguments with the same pipes, environment, folder and session. It is forked from a
copy of the test's process that was made before the first test (`keep_copy`): autograd does not survive a fork once it
has run. A process that a fork starts is a fork too. Tables are not drawn (`undrawn`). What a command costs to import
has tests of its own.
"""

import atexit
import ctypes
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from typing import Any

PR_SET_CHILD_SUBREAPER = 36  # prctl: who becomes the parent of grandchildren whose parent is gone
copy: socket.socket | None = None  # the way to the copy


def keep_copy() -> None:
    """Fork the copy of this process, on Linux; it waits for requests and ends with this process."""
    global copy
    if copy is not None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what the copy forks becomes a child of this process
    copy, other = socket.socketpair()
    if os.fork() == 0:
        copy.close()
        try:
            serve(other)
        finally:
            os._exit(0)
    other.close()


def serve(requests: socket.socket) -> None:
    """Fork, for each request, a grandchild that runs it, and answer with its number."""
    while True:
        message, files, *_ = socket.recv_fds(requests, 1 << 20, 3)
        if not message:
            return
        request = json.loads(message)
        streams = [files.pop(0) if given else -1 for given in request["streams"]]
        ours, theirs = os.pipe()
        if (child := os.fork()) == 0:
            if (grandchild := os.fork()) == 0:
                requests.close()
                become(request["words"], streams, request["cwd"], request["env"], request["new_session"])
            os.write(theirs, str(grandchild).encode())
            os._exit(0)
        os.waitpid(child, 0)  # from here on it is a child of the test's process
        requests.sendall(os.read(ours, 32))
        os.close(ours)
        os.close(theirs)
        for file in streams:
            if file != -1:
                os.close(file)


class WarmPopen(subprocess.Popen):
    """A `Popen` whose Python processes are forks."""

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more: Any) -> None:
        """Fork instead of starting `sys.executable`; the arguments are those of `Popen`'s method."""
        forks = copy is not None or self.is_fork
        if not forks or isinstance(args, str) or args[0] != sys.executable:
            return super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more)
        stdin, to_stdin, from_stdout, stdout, from_stderr, stderr = more[3:9]
        words, streams, new_session = list(map(str, args[1:])), (stdin, stdout, stderr), more[-2]
        env = dict(os.environ if env is None else env)
        if copy is not None:
            request = {"words": words, "streams": [file != -1 for file in streams], "new_session": new_session}
            request |= {"cwd": os.path.abspath(cwd or "."), "env": env}
            socket.send_fds(copy, [json.dumps(request).encode()], [file for file in streams if file != -1])
            self.pid = int(copy.recv(32))
        elif (pid := os.fork()) == 0:
            for end in (to_stdin, from_stdout, from_stderr):
                if end != -1:
                    os.close(end)
            become(words, streams, cwd, env, new_session)
        else:
            self.pid = pid
        self._child_created = True
        for ours, theirs in ((to_stdin, stdin), (from_stdout, stdout), (from_stderr, stderr)):
            if ours != -1:
                os.close(theirs)
        return None

    is_fork = False  # whether this process is one


def become(words: list[str], streams: Any, cwd: Any, env: dict[str, str], new_session: bool) -> None:
    """Run `python <words>` in this process and end it. `streams`: the files of 0, 1 and 2; -1: the present one."""
    global copy
    copy, WarmPopen.is_fork = None, True
    try:
        begin(streams, cwd, env, new_session)
        code = exit_code_of(words)
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)


def begin(streams: Any, cwd: Any, env: dict[str, str], new_session: bool) -> None:
    """Take on what a new process has: its streams, environment and folder, no work of its parent's."""
    import torch
    from hydra.core.global_hydra import GlobalHydra
    from undrawn import viz

    from contextseg.engine import results

    torch.set_num_threads(1)  # makes torch's pool anew before the threads of autograd would, all at once
    atexit._clear()
    GlobalHydra.instance().clear()
    results.viz = viz
    subprocess.Popen = WarmPopen
    if new_session:
        os.setsid()
    for number, file in enumerate(streams):
        if file != -1:
            os.dup2(file, number)
    for name, number in (("stdout", 1), ("stderr", 2)):
        setattr(sys, name, open(number, "w", buffering=1, closefd=False))  # noqa: SIM115, in place of pytest's
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd or ".")
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def exit_code_of(words: list[str]) -> int:
    """Run `python <words>`; returns its exit code. What Ctrl-C ends is killed by SIGINT, as Python does it."""
    try:
        run(words)
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return 0


def run(words: list[str]) -> None:
    """Run what the arguments of Python name: `-c CODE`, `-m MODULE ...` or `FILE ...`."""
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    elif words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
