"""Running a command: Hydra composes, the door checks, mistakes become one line and exit code 2.

Exit code 0: done; 1: failed, or a job of a sweep did; 2: the user can correct it; 128 + number: stopped by a
signal, 130 by Ctrl-C, 143 by SIGTERM.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.logging import RichHandler
from rich.table import Table

from contextseg.commands.compose import register, without_hydra
from contextseg.commands.explain_error import explain
from contextseg.commands.sweep import pool
from contextseg.commands.sweep.job import Job, config_places, follow_parent
from contextseg.commands.table import COMMANDS
from contextseg.commands.words import refuse_wrong_words
from contextseg.conf import CONF
from contextseg.console import console, print_error
from contextseg.errors import ConfigError, how_to_run
from contextseg.files import refuse_unwritable
from contextseg.runs import folder as run_folder
from contextseg.signals import STOP_SIGNALS, stop_as_exits
from contextseg.typed import check

SWEEP = "CONTEXTSEG_SWEEP_FOLDER"  # by which the jobs of a sweep know its folder, in other processes too


def sweep_folder(runs: str, name: str | None) -> str:
    """Return the folder of this command's sweep, `<runs>/sweeps/<name>/<date>_<time>`; make it at the first call."""
    if SWEEP not in os.environ:
        parent = Path(runs).expanduser() / "sweeps" / run_folder.plain_name(name or "sweep")
        os.environ[SWEEP] = str(run_folder.new_folder(parent))
    return os.environ[SWEEP]


OmegaConf.register_new_resolver("sweep_folder", lambda *where: sweep_folder(*where), replace=True)


def run_command(name: str, words: Sequence[str]) -> int:
    """Run a command with the words of its command line; return its exit code."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through, to be explained here
    stop_as_exits()
    follow_parent()
    log_to_console()
    register(name)
    typed_line = sys.argv
    outcome: list[Any] = []  # exit code or error, kept from Hydra, which would print errors its own way
    started = False  # the words are composed

    def job(cfg: DictConfig) -> float | None:
        nonlocal started
        started = True
        sys.argv = typed_line  # Lightning starts the other processes of a run with it
        hydra_cfg = HydraConfig.get()
        composed = partial(without_hydra, cfg, hydra_cfg.runtime.choices, hydra_cfg.overrides.task)
        if hydra_cfg.mode == RunMode.MULTIRUN:
            return run_job(composed(), hydra_cfg)
        try:
            outcome.append(work(name, composed()))
        except Exception as error:
            outcome.append(error)
        return None

    failed = False
    try:
        if {"-m", "--multirun"} & set(words):
            refuse_sweep(name)  # here, because Hydra prints errors of its own once it has started the job
        refuse_wrong_words(words)
        sys.argv = [typed_line[0], *overrides_first(words)]
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()
        if outcome and isinstance(outcome[0], Exception):
            raise outcome[0]
    except KeyboardInterrupt:
        return 128 + STOP_SIGNALS[0]
    except Exception as error:
        os.environ.pop(SWEEP, None)  # refused as a whole: no table
        message, code = explain(error, name, () if started else words)
        if not message:
            raise
        process = f"process {run_folder.rank()}: " if run_folder.rank() else ""  # of several, the one that failed
        print_error(process + message)
        return code
    finally:
        sys.argv = typed_line
        sweep = os.environ.pop(SWEEP, None)
        failed = summarise(Path(sweep)) if sweep else False
    return int(failed) or int((outcome and outcome[0]) or 0)


def refuse_sweep(name: str) -> None:
    """Raise `ConfigError` unless the command has sweeps."""
    if "sweep" not in COMMANDS[name].hydra:
        raise ConfigError(f"-m is for train: run {how_to_run(name)} once for each value")


def work(name: str, cfg: DictConfig) -> int | None:
    """Check the composed configuration of a command and do its work; return its exit code."""
    command = COMMANDS[name]
    checked = command.check(cfg)  # before anything heavy is imported
    for option in ("output", "paths.runs"):
        if place := OmegaConf.select(cfg, option):
            refuse_unwritable(check(Path, place, option), option)
    return command.function()(checked)


def overrides_first(words: Sequence[str]) -> list[str]:
    """Put the overrides of a command line in front: argparse takes them in one piece only, `a=1 -m b=2` not."""
    return sorted(words, key=lambda word: word.startswith("-") or not ("=" in word or word.startswith("~")))


def log_to_console() -> None:
    """Show our own log lines at INFO on the console; of the libraries, warnings only. Quiet on all ranks but 0."""
    handler = RichHandler(console=console, show_path=False, show_level=False, log_time_format="%H:%M:%S")
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: record.name.startswith("contextseg.") and not hasattr(record, "file_only"))
    handler.addFilter(lambda record: record.levelno >= (logging.CRITICAL if run_folder.rank() else logging.INFO))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)


def run_job(cfg: DictConfig, hydra_cfg: Any) -> float | None:
    """Run a job of another launcher, on SLURM say, in a process of its own; return its mIoU."""
    refuse_sweep(hydra_cfg.job.config_name)
    places = config_places(hydra_cfg.runtime.config_sources)
    job = Job(cfg, hydra_cfg.overrides.task, hydra_cfg.job.num, Path(hydra_cfg.runtime.output_dir), places)
    pool.run([job])
    return job.outcome().get("miou")


def jobs_of(sweep: Path) -> dict[str, Path]:
    """Return the run folders of a sweep by job: those of its plan, or without one, those in its folder."""
    plan = sweep / "jobs.json"
    if plan.is_file():
        return {name: Path(folder) for name, folder in json.loads(plan.read_text()).items()}
    return {path.name: path for path in sorted(sweep.iterdir()) if re.match(r"\d{3}_", path.name)}


def summarise(sweep: Path) -> bool:
    """Print the results of the jobs of a sweep; return whether one did not finish."""
    jobs = jobs_of(sweep)
    table = Table(title="sweep", title_justify="left")
    for column in ("job", "status", "mIoU", "pixAcc", "steps", "seconds"):
        table.add_column(column, justify="left" if column in ("job", "status") else "right", overflow="fold")
    results = {name: run_folder.RunFolder(folder).read_metrics() for name, folder in jobs.items()}
    for name, result in results.items():
        numbers = (result.get("miou"), result.get("pix_acc"), result.get("steps"), result.get("seconds"))
        cells = ("" if number is None else f"{number:.2f}".removesuffix(".00") for number in numbers)
        table.add_row(name, result.get("status", "not run"), *cells)
    console.print(table)
    console.print(f"results: {sweep}", soft_wrap=True, highlight=False)
    return any(result.get("status") != "finished" for result in results.values())
