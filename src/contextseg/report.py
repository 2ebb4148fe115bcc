"""A table of finished runs: one row per configuration, mean ± standard deviation over its seeds."""

import statistics
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from contextseg.console import console
from contextseg.contract import ConfigError
from contextseg.run_folder import RunFolder, write_atomically

Metrics = dict[str, Any]


def report(cfg: DictConfig) -> str:
    """The markdown table of all finished runs below `cfg.runs`; also written to `cfg.output`.

    Runs that differ in the seed alone are one row. Raises `ConfigError` if there is no finished run.
    """
    groups = grouped(Path(cfg.runs))
    columns, learnt = list(cfg.columns), OmegaConf.to_container(cfg.learnt)
    header = ["configuration", "seeds", *columns, "unlearnt", "parameters", "images/s"]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for name, runs in groups.items():
        cells = [spread([run.get(column) for run in runs]) for column in columns]
        judged = [run for run in runs if learnt.keys() <= run.keys()]
        unlearnt = str(sum(any(run[key] < least for key, least in learnt.items()) for run in judged)) if judged else ""
        speed = statistics.median(run.get("images_per_second", 0) for run in runs)
        cells = [name, str(len(runs)), *cells, unlearnt, f"{runs[0]['parameters'] / 1e3:,.0f} k", f"{speed:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    table = "\n".join(lines) + "\n"
    console.print(table, soft_wrap=True, highlight=False, markup=False)
    if cfg.output:
        write_atomically(Path(cfg.output), table)
    return table


def grouped(folder: Path) -> dict[str, list[Metrics]]:
    """Finished training runs below a folder, by configuration; the name says what tells the configurations apart."""
    found = []
    for file in sorted(folder.glob("**/metrics.json")):
        run = RunFolder(file.parent)
        metrics = run.read_metrics()
        if metrics.get("status") == "finished" and "parameters" in metrics:
            found.append((flatten_choices(run.read_config()), metrics))
    if not found:
        raise ConfigError(f"runs={folder}: no finished training run below this folder")
    keys = {key for settings, _ in found for key in settings}
    varying = [key for key in sorted(keys) if len({str(settings.get(key)) for settings, _ in found}) > 1]
    groups: dict[str, list[Metrics]] = {}
    for settings, metrics in found:
        name = ", ".join(f"{key}={settings[key]}" for key in varying if key in settings)
        groups.setdefault(name or "all", []).append(metrics)
    return groups


def flatten_choices(config: dict) -> dict[str, Any]:
    """What names a configuration: the chosen options, and the settings of head and loss."""
    settings: dict[str, Any] = dict(config["choices"])
    for part in ("head", "backbone"):
        settings |= {f"{part}.{key}": value for key, value in config[part].items() if key != "_target_"}
    settings["trainer.max_steps"] = config["trainer"]["max_steps"]
    return settings


def spread(values: list[float | None]) -> str:
    """Mean ± sample standard deviation; empty if a run lacks the value."""
    if any(value is None for value in values):
        return ""
    mean = statistics.mean(values)
    return f"{mean:.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.1f}"
