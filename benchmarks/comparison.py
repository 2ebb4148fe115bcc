"""Ours against the usual formulation: both in one process, in turn, as rows of one table (`benchmarks/table.py`).

Times are CPU time, medians over the rounds. The ratio is usual / ours of a round, its median and quartiles: below 1.05
it is no gain. Memory is the peak of what a call allocates, its result and gradients included.
"""

import statistics
import time
from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

HEADER = "| work | ours, ms | usual, ms | ratio | quartiles | peak, MiB | of the usual |\n|---|---|---|---|---|---|---|"
ROUNDS = 9


def compare(work: str, rounds: int = ROUNDS, *, ours: Callable, **usual: Callable) -> None:
    """Print a row for each usual way, after a round to warm up."""
    calls = {"ours": ours, **usual}
    times = [{name: milliseconds(call) for name, call in calls.items()} for _ in range(rounds + 1)][1:]
    peaks = {name: peak_mib(call) for name, call in calls.items()}
    ours_ms = statistics.median(each["ours"] for each in times)
    for name in usual:
        usual_ms = statistics.median(each[name] for each in times)
        low, ratio, high = statistics.quantiles([each[name] / each["ours"] for each in times], n=4)
        row(
            work if len(usual) == 1 else f"{work}, against {name}",
            f"{ours_ms:.2f}",
            f"{usual_ms:.2f}",
            f"{ratio:.2f}x",
            f"{low:.2f} to {high:.2f}",
            f"{peaks['ours']:.1f}",
            f"{peaks['ours'] / peaks[name]:.3f}" if peaks[name] else "",
        )


def row(*cells: object) -> None:
    """Print a row of a markdown table."""
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def milliseconds(call: Callable) -> float:
    """Return the CPU time of a call."""
    start = time.process_time()
    call()
    return 1000 * (time.process_time() - start)


def peak_mib(call: Callable) -> float:
    """Return the peak, in MiB, of what the CPU allocator holds during one call."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        result = call()  # noqa: F841 - kept, so that it counts
    events = [event for event in trace.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 2**20
