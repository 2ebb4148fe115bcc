"""The lock of a run folder: one owner, named; it ends with its process, whatever ends that."""

import json
import os
import signal
import socket

import pytest

from contextseg import files
from contextseg.errors import ConfigError
from contextseg.runs import lock
from contextseg.runs.lock import HANDED, RunLock, at_work, held


def fork(work):
    """A process that does some work, then waits until it is killed; returns its number when the work is done."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        work()
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    return pid


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_second_run_is_refused_by_the_name_of_the_first(tmp_path):
    assert not held(tmp_path)
    with at_work(tmp_path):
        assert held(tmp_path)
        owner = f"process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(ConfigError, match=rf"in use by another run \({owner}, since 2"):
            at_work(tmp_path).__enter__()
    assert not held(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_ends_with_its_process(tmp_path):
    """SIGKILL leaves the file, and the name in it, but not the lock."""
    pid = fork(RunLock(tmp_path).take)
    assert held(tmp_path)
    assert RunLock(tmp_path).owner()["pid"] == pid
    kill(pid)
    assert (tmp_path / "run.lock").exists()
    assert not held(tmp_path)
    with at_work(tmp_path):
        assert RunLock(tmp_path).owner()["pid"] == os.getpid()


def test_a_worker_does_not_keep_the_folder(tmp_path):
    """A fork of the owner lives on, as a loader's worker may for some seconds."""
    own = RunLock(tmp_path)
    assert own.take()
    worker = fork(lambda: None)
    own.hand_over()
    try:
        assert not held(tmp_path)
    finally:
        kill(worker)


def test_the_processes_of_a_run_share_its_lock(tmp_path, monkeypatch):
    with at_work(tmp_path):
        monkeypatch.setenv("LOCAL_RANK", "1")
        with at_work(tmp_path):
            pass
        assert held(tmp_path)


def test_a_lock_is_handed_to_a_job(tmp_path, monkeypatch):
    """The job finds the open file by its number, and no one can come between."""
    sweep = RunLock(tmp_path)
    assert sweep.take()
    monkeypatch.setenv(HANDED, str(os.dup(sweep.file)))
    sweep.hand_over()
    assert held(tmp_path)
    with at_work(tmp_path):
        assert HANDED not in os.environ
        assert held(tmp_path)
    assert not held(tmp_path)


def test_a_lock_that_is_removed_while_one_waits_for_it(tmp_path, monkeypatch):
    """Its owner removed the file after it was opened here: a lock on a file without a name locks nothing."""
    (tmp_path / "run.lock").touch()

    def removed(file, once=[]):  # noqa: B006
        if not once:
            once.append((tmp_path / "run.lock").unlink())
        return files.lock(file)

    monkeypatch.setattr(lock, "lock", removed)
    own = RunLock(tmp_path)
    assert own.take()
    assert (tmp_path / "run.lock").exists()
    own.release()


@pytest.mark.parametrize(
    ("changes", "taken"),
    [({}, False), ({"start": "another boot 7"}, True), ({"host": "elsewhere"}, False), ({"pid": 2**22 + 1}, True)],
    ids=["alive", "its number is another's now", "of another machine", "gone"],
)
def test_without_locks_the_record_decides(tmp_path, monkeypatch, changes, taken):
    """Some network file systems refuse every lock."""
    monkeypatch.setattr(lock, "lock", lambda file: None)
    (tmp_path / "run.lock").write_text(json.dumps(lock.myself() | changes))
    assert held(tmp_path) is not taken
    own = RunLock(tmp_path)
    assert own.take() is taken
    own.hand_over()
