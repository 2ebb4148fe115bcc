"""Running jobs, some at a time, with one line on their state."""

import logging
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from contextseg.commands.sweep.job import Job, environment
from contextseg.commands.sweep.warm import PYTHON, WarmParent
from contextseg.console import console, print_error
from contextseg.parts import index, short

log = logging.getLogger(__name__)


def run(jobs: Sequence[Job], at_once: int = 1, gpus: Sequence[int] = (), warm: bool = True) -> None:
    """Run jobs, `at_once` at a time. A failed one is reported and the others go on; all stop when this stops.

    `gpus`: their numbers, divided among the places; (): each job sees all. `warm`: fork them from a process that has
    imported everything, where that is safe.
    """
    waiting, begun = list(jobs), time.monotonic()
    running: dict[int, Job] = {}  # place -> job
    parents = warm_parents(jobs, at_once) if warm else {}
    ended: list[str] = []  # status of each
    with console.status("") as line:
        try:
            while waiting or running:
                for place in sorted(set(range(at_once)) - running.keys()):
                    if job := start_one(waiting, at_once, gpus[place::at_once], parents):
                        running[place] = job
                for place, job in [(place, job) for place, job in running.items() if not job.running()]:
                    job.clear()
                    del running[place]
                    ended.append(job.outcome()["status"])
                    report(job, f"{len(ended)}/{len(jobs)}")
                line.update(standing(ended, len(running), len(waiting), time.monotonic() - begun))
                time.sleep(0.1)
        finally:
            for job in running.values():
                job.stop()
            for job in running.values():
                job.clear()
                report(job, "stopped")
            for parent in parents.values():
                parent.close()


def warm_parents(jobs: Sequence[Job], at_once: int) -> dict[int, WarmParent]:
    """Return the warm parents of jobs by their number of devices, which decides the threads; none for a single job."""
    ours = [job for job in jobs if job.command[: len(PYTHON)] == PYTHON]
    modules = sorted({index()[short(part)] for job in ours for part in job.parts if short(part) in index()})
    return {
        devices: WarmParent(environment(threads(devices, at_once), ()), modules)
        for devices, number in Counter(job.devices for job in ours).items()
        if number > 1
    }


def threads(devices: int, at_once: int) -> int:
    """Return the threads of each process of a job."""
    return max(1, processors() // (at_once * max(1, devices)))


def start_one(waiting: list[Job], at_once: int, gpus: Sequence[int], parents: Mapping[int, WarmParent]) -> Job | None:
    """Start the first job that no other process runs, and take it out of `waiting`; None if there is none."""
    for job in waiting:
        if job.start(threads(job.devices, at_once), gpus, parents.get(job.devices)):
            waiting.remove(job)
            log.info("%s starts", job.name)
            return job
    return None


def processors() -> int:
    """Count the CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def report(job: Job, number: str) -> None:
    """Print the error of a failed job, log the status and score of any other."""
    outcome = job.outcome()
    if outcome["status"] == "failed":
        print_error(f"{job.name}: {str(outcome.get('error', '')).removeprefix('ConfigError: ')}")
    else:
        score = f", mIoU {outcome['miou']:.2f}" if outcome.get("miou") is not None else ""
        log.info("%s (%s): %s%s", job.name, number, outcome["status"], score)


def standing(ended: Sequence[str], running: int, waiting: int, seconds: float) -> str:
    """Write in one line how many jobs are done, failed, running and waiting, and about how long they take."""
    done = ended.count("finished")
    line = f"{done} done, {len(ended) - done} failed, {running} running, {waiting} waiting"
    return f"{line}, about {duration(seconds / len(ended) * (running + waiting))} left" if ended else line


def duration(seconds: float) -> str:
    """Write a time with two digits: "50 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
