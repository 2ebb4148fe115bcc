"""A table of finished runs: one row per configuration, mean ± standard deviation over its seeds."""

import statistics
from collections.abc import Iterable, Mapping, Sequence

from contextseg.commands.report.names import configuration_names
from contextseg.runs.store import Run, grouped, settings


def table(runs: Iterable[Run], columns: Sequence[str], learnt: Mapping[str, float]) -> str:
    """Write the finished runs in markdown, "" if there is none. Runs that differ in the seed alone are one row.

    `learnt`: a run missed a fact when one of these metrics is below its number.
    """
    groups = grouped(run for run in runs if run.finished)
    if not groups:
        return ""
    names = configuration_names(group.config for group in groups)
    header = ["configuration", "seeds", *columns, "missed a fact", "parameters", "images/s"]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for group in groups:
        found = [group.finished[seed] for seed in sorted(group.finished)]
        cells = [spread([metrics.get(column) for metrics in found]) for column in columns]
        judged = [metrics for metrics in found if learnt.keys() <= metrics.keys()]
        missed = sum(any(metrics[key] < least for key, least in learnt.items()) for metrics in judged)
        speed = statistics.median(metrics.get("images_per_second", 0) for metrics in found)
        parameters = found[0].get("parameters")
        size = "" if parameters is None else f"{parameters / 1e3:,.0f} k"
        name = names[settings(group.config)].replace("|", "/")
        cells = [name, str(len(found)), *cells, str(missed) if judged else "", size, f"{speed:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def spread(values: list[float | None]) -> str:
    """Write mean ± sample standard deviation; "" if a run lacks the value, or has no number there."""
    known = [value for value in values if isinstance(value, int | float)]
    if len(known) < len(values):
        return ""
    mean = statistics.mean(known)
    return f"{mean:.1f} ± {statistics.stdev(known):.1f}" if len(known) > 1 else f"{mean:.1f}"
