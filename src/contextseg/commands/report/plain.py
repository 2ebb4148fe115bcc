"""A table of finished runs: one row per configuration, mean ± standard deviation over its seeds."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contextseg.parts import index, short
from contextseg.runs.store import Run

Metrics = dict[str, Any]


def table(runs: Iterable[Run], columns: Sequence[str], learnt: Mapping[str, float]) -> str:
    """Write the finished runs in markdown, "" if there is none. Runs that differ in the seed alone are one row.

    `learnt`: a run missed a fact when one of these metrics is below its number.
    """
    groups = named([run for run in runs if run.finished and run.config])
    if not groups:
        return ""
    header = ["configuration", "seeds", *columns, "missed a fact", "parameters", "images/s"]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for name, found in groups.items():
        cells = [spread([metrics.get(column) for metrics in found]) for column in columns]
        judged = [metrics for metrics in found if learnt.keys() <= metrics.keys()]
        missed = sum(any(metrics[key] < least for key, least in learnt.items()) for metrics in judged)
        speed = statistics.median(metrics.get("images_per_second", 0) for metrics in found)
        parameters = found[0].get("parameters")
        size = "" if parameters is None else f"{parameters / 1e3:,.0f} k"
        cells = [name, str(len(found)), *cells, str(missed) if judged else "", size, f"{speed:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def named(runs: Sequence[Run]) -> dict[str, list[Metrics]]:
    """Return metrics by configuration; its name lists the settings in which the configurations differ."""
    found = [(flatten_choices(run.config), run.metrics) for run in runs]
    keys = {key for settings, _ in found for key in settings}
    varying = [key for key in sorted(keys) if len({str(settings.get(key)) for settings, _ in found}) > 1]
    groups: dict[str, list[Metrics]] = {}
    for settings, metrics in found:
        name = ", ".join(f"{key}={settings[key]}" for key in varying if key in settings)
        groups.setdefault(name or "all", []).append(metrics)
    return groups


def flatten_choices(config: dict) -> dict[str, Any]:
    """Return the settings that may name a configuration: chosen options, neck, steps, settings of head and backbone."""
    settings: dict[str, Any] = config["choices"] | {"neck": file_of(config["neck"]["_target_"])}
    for part in ("head", "backbone"):
        settings |= {f"{part}.{key}": value for key, value in config[part].items() if key != "_target_"}
    settings["trainer.max_steps"] = config["trainer"]["max_steps"]
    return settings


def file_of(target: str) -> str:
    """Return the name of the file that a part lies in: "jpu" for the neck JPU."""
    return index().get(short(target), target).rpartition(".")[2]


def spread(values: list[float | None]) -> str:
    """Write mean ± sample standard deviation; "" if a run lacks the value."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return ""
    mean = statistics.mean(known)
    return f"{mean:.1f} ± {statistics.stdev(known):.1f}" if len(known) > 1 else f"{mean:.1f}"
