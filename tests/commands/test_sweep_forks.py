"""Jobs of a sweep that are forked from a warm parent: they are processes like any other."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import SMALL, TIMES, subprocess_environment

from contextseg.commands.compose import compose
from contextseg.commands.sweep import pool
from contextseg.commands.sweep.job import Job
from contextseg.commands.sweep.warm import PYTHON, Fork, WarmParent

SERVE = """
from contextseg.commands.sweep import warm
warm.WANTED = ()
warm.runpy.run_module = lambda *_, **__: exec(warm.sys.argv[1])
{before}
warm.main([])
"""


@pytest.fixture
def parent():
    """parent("code") -> a warm parent that runs some Python before it serves, and imports nothing."""
    made = []

    def start(before=""):
        made.append(WarmParent(subprocess_environment()))
        made[-1].command = [sys.executable, "-c", SERVE.format(before=before)]
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def fork(parent, tmp_path):
    """fork("code", env, parent) -> a fork that runs some Python, its output in a file."""

    def run(code, env=None, of=None):
        with (tmp_path / "output").open("a") as output, (tmp_path / "lock").open("w") as lock:
            return (of or parent()).fork([code], env or {}, output.fileno(), lock.fileno())

    return run


def test_a_fork_is_a_process_like_any_other(fork, tmp_path):
    code = """
import os, sys
print(os.getppid(), os.getsid(0) == os.getpid(), sorted(os.environ))
print(os.readlink("/proc/self/fd/" + os.environ["CONTEXTSEG_LOCK"]))
print("input", len(os.read(0, 1)), flush=True)
print("errors too", file=sys.stderr)
sys.exit(7)
"""
    made = fork(code, {"A": "a"})
    assert made.poll() is None, "it waits for the end of its input"
    made.stdin.close()
    assert made.wait(60) == 7
    assert (tmp_path / "output").read_text().splitlines() == [
        f"{os.getpid()} True ['A', 'CONTEXTSEG_LOCK']",
        str(tmp_path / "lock"),
        "input 0",
        "errors too",
    ]


def test_the_end_of_a_fork_is_known_and_no_other_is_touched(fork, parent):
    one_parent = parent()
    one, two = (fork("import time; time.sleep(3600)", of=one_parent) for _ in range(2))
    with pytest.raises(subprocess.TimeoutExpired):
        one.wait(0)
    one.terminate()
    assert one.wait(60) == -signal.SIGTERM
    one_parent.close()
    assert two.poll() is None, "forks go on without the warm parent"
    os.killpg(two.pid, signal.SIGKILL)
    assert two.wait(60) == -signal.SIGKILL


def test_where_a_fork_is_not_safe_there_is_none(fork, parent, caplog):
    caplog.set_level("INFO")
    threaded = parent("import threading, time; threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()")
    assert fork("", of=threaded) is None
    assert not threaded.usable
    assert "each job starts by itself: 2 threads are alive" in caplog.text
    gone = parent("raise SystemExit(1)")
    assert fork("", of=gone) is None
    assert fork("", of=gone) is None
    assert caplog.text.count("each job starts by itself") == 2


def test_only_several_trainings_share_a_parent():
    cfg = compose([*SMALL, "run.dir=x"])
    jobs = [Job(cfg, [], number, Path()) for number in range(3)]
    jobs[2].devices = 2
    other = Job(cfg, [], 3, Path())
    other.command = [sys.executable, "-c", "pass"]
    found = pool.warm_parents([*jobs, other], at_once=1)
    assert found.keys() == {1}
    assert found[1].process is None, "it starts with the first job"
    assert {"contextseg.heads.fcn", "contextseg.backbones.tiny"} < {*found[1].command}


@pytest.mark.slow
@pytest.mark.parametrize("more", [["data.num_workers=1"], ["trainer=ddp_cpu"]])
def test_a_forked_job_trains_as_one_that_starts_by_itself(tmp_path, more):
    found = {}
    for warm in (True, False):
        small = [*SMALL, "trainer.max_steps=4", *more]
        words = [[*small, f"seed={seed}", f"run.dir={tmp_path}/{warm}{seed}"] for seed in (0, 1)]
        jobs = [Job(compose(line), line, number, tmp_path) for number, line in enumerate(words)]
        pool.run(jobs, at_once=2, warm=warm)
        assert {isinstance(job.process, Fork) for job in jobs} == {warm}
        assert {job.outcome()["status"] for job in jobs} == {"finished"}
        assert all(job.command[: len(PYTHON)] == PYTHON for job in jobs)
        found[warm] = [
            [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file.open())]
            for file in sorted(tmp_path.glob(f"{warm}*/metrics.csv"))
        ]
        assert "nanobind" not in (tmp_path / f"{warm}0/output.log").read_text()
    assert found[True] == found[False]
    assert len(found[True]) == 2
