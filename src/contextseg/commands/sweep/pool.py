"""Some jobs at a time, with one line that says how it stands."""

import logging
import os
import time
from collections.abc import Sequence

from rich.markup import escape

from contextseg.commands.sweep.job import Job
from contextseg.console import console

log = logging.getLogger(__name__)


def run(jobs: Sequence[Job], at_once: int = 1, gpus: Sequence[int] = ()) -> None:
    """Run jobs, `at_once` at a time; a failed one is told and the others go on. Whatever ends this ends them.

    `gpus`: their numbers, shared out among the places; (): each job sees all.
    """
    waiting, begun = list(jobs), time.monotonic()
    running: dict[int, Job] = {}  # place -> job
    ended: list[str] = []  # how
    with console.status("") as line:
        try:
            while waiting or running:
                for place in sorted(set(range(at_once)) - running.keys()):
                    if job := start_one(waiting, at_once, gpus[place::at_once]):
                        running[place] = job
                for place, job in [(place, job) for place, job in running.items() if not job.running()]:
                    job.clear()
                    del running[place]
                    ended.append(job.outcome()["status"])
                    tell(job, f"{len(ended)}/{len(jobs)}")
                line.update(standing(ended, len(running), len(waiting), time.monotonic() - begun))
                time.sleep(0.1)
        finally:
            for job in running.values():
                job.stop()
            for job in running.values():
                job.clear()
                tell(job, "stopped")


def start_one(waiting: list[Job], at_once: int, gpus: Sequence[int]) -> Job | None:
    """Start the first job that no other process is at work on, and take it out of those that wait."""
    for job in waiting:
        if job.start(threads=max(1, processors() // (at_once * max(1, job.devices))), gpus=gpus):
            waiting.remove(job)
            log.info("%s starts", job.name)
            return job
    return None


def processors() -> int:
    """How many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tell(job: Job, number: str) -> None:
    """Say what became of a job."""
    outcome = job.outcome()
    if outcome["status"] == "failed":
        error = str(outcome.get("error", "")).removeprefix("ConfigError: ")
        console.print(f"[bold red]error:[/] {escape(f'{job.name}: {error}')}", soft_wrap=True, highlight=False)
    else:
        score = f", mIoU {outcome['miou']:.2f}" if outcome.get("miou") is not None else ""
        log.info("%s (%s): %s%s", job.name, number, outcome["status"], score)


def standing(ended: Sequence[str], running: int, waiting: int, seconds: float) -> str:
    """One line: how many jobs are done, failed, running and waiting, and about how long they take."""
    done = ended.count("finished")
    line = f"{done} done, {len(ended) - done} failed, {running} running, {waiting} waiting"
    return f"{line}, about {duration(seconds / len(ended) * (running + waiting))} left" if ended else line


def duration(seconds: float) -> str:
    """A time in two figures' precision: "50 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
