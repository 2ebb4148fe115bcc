"""Entry points: Hydra composes, mistakes become one line and exit code 2, sweeps end with a table."""

import functools
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table

from contextseg import run_folder
from contextseg.config import CONF, record_choices
from contextseg.console import console
from contextseg.contract import ConfigError

log = logging.getLogger(__name__)


@functools.cache
def sweep_folder(runs: str, name: str | None) -> str:
    """A new folder for the sweep of this process: `<runs>/sweeps/<name>/<date>_<time>`."""
    return str(run_folder.new_folder(Path(runs) / "sweeps" / run_folder.plain_name(name or "sweep")))


OmegaConf.register_new_resolver("sweep_folder", lambda *where: sweep_folder(*where), replace=True)
OmegaConf.register_new_resolver("three_digits", lambda number: f"{number:03d}", replace=True)


def command(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Decorator: make a command of `task(cfg)`, configured by `conf/<config_name>.yaml`."""

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        def entry() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through, to be told here
            log_to_console()
            jobs: list[Path] = []
            errors: list[Exception] = []  # kept from Hydra, which would print them its own way

            def run(cfg: DictConfig) -> None:
                hydra_cfg = HydraConfig.get()
                cfg = record_choices(cfg, hydra_cfg.runtime.choices)
                if hydra_cfg.mode == RunMode.MULTIRUN:
                    folder = Path(hydra_cfg.runtime.output_dir)
                    jobs.append(folder)
                    run_job(task, cfg, folder, list(hydra_cfg.overrides.task))
                else:
                    try:
                        task(cfg)
                    except Exception as error:
                        errors.append(error)

            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(run)()
                if errors:
                    raise errors[0]
            except KeyboardInterrupt:
                sys.exit(130)
            except Exception as error:
                message = explain(error)
                if message is None:
                    raise
                refuse(message)
                sys.exit(2)
            if jobs:
                sys.exit(summarise(jobs))

        entry.__doc__ = task.__doc__
        return entry

    return decorate


def log_to_console() -> None:
    """Our own log lines at INFO on the console; of the libraries, warnings only. Quiet on all ranks but 0."""
    handler = RichHandler(console=console, show_path=False, show_level=False, log_time_format="%H:%M:%S")
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: record.name.startswith("contextseg.") and not hasattr(record, "file_only"))
    handler.setLevel(logging.INFO if int(os.environ.get("LOCAL_RANK", 0)) == 0 else logging.CRITICAL)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)


def refuse(message: str) -> None:
    """Print one readable line."""
    console.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True, highlight=False)


def explain(error: BaseException) -> str | None:
    """What to tell the user of an error that the user can put right; None for any other error."""
    if isinstance(error, ConfigError):
        return (
            str(error).split("\n\nOriginal Traceback")[0] if "Traceback" not in str(error) else worker_error(str(error))
        )
    if isinstance(error, HydraException | OmegaConfBaseException):
        return explain_hydra(error)
    return None


def worker_error(text: str) -> str:
    """The message of a `ConfigError` that a loader worker raised: torch wraps it in the worker's traceback."""
    return text.rsplit("ConfigError: ", 1)[-1].strip()


def explain_hydra(error: Exception) -> str:
    """Hydra's message as one line, with the way out."""
    text = " ".join(str(error).split())
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return f"cannot read the override {error.override}: quote the value, for example  '{key}=\"{value}\"'"
    if missing := re.search(r"(?:Key '([^']+)' is not in struct|Could not override '([^']+)')", text):
        wanted = next(part for part in missing.groups() if part)
        return f"unknown option: {text.split(' full_key')[0]} (misspelt {wanted!r}? --cfg job lists every option)"
    return text


def run_job(task: Callable[[DictConfig], Any], cfg: DictConfig, folder: Path, overrides: list[str]) -> None:
    """One job of a sweep: an error is recorded in its folder and the sweep goes on."""
    if cfg.get("resume"):
        raise ConfigError(f"resume={cfg.resume} with -m: a sweep starts new runs; resume one run at a time")
    if cfg.trainer.devices > 1:
        raise ConfigError(
            f"trainer.devices={cfg.trainer.devices} with -m: the jobs of a sweep share one process, which can start "
            "other processes only once; run each job as a command of its own without -m"
        )
    cfg.run.dir = str(folder)
    log.info("job %s: %s", folder.name, " ".join(overrides))
    try:
        task(cfg)
    except Exception as error:
        refuse(f"{folder.name}: {explain(error) or f'{type(error).__name__}: {error}'}")


def summarise(folders: list[Path]) -> int:
    """Print what became of the jobs of a sweep; the exit code: 1 if one did not finish."""
    table = Table(title="sweep", title_justify="left")
    for column in ("job", "status", "mIoU", "pixAcc", "steps", "seconds"):
        table.add_column(column, justify="left" if column in ("job", "status") else "right")
    results = [run_folder.RunFolder(folder).read_metrics() for folder in folders]
    for folder, result in zip(folders, results, strict=True):
        numbers = (result.get("miou"), result.get("pix_acc"), result.get("steps"), result.get("seconds"))
        cells = ("" if number is None else f"{number:.2f}".removesuffix(".00") for number in numbers)
        table.add_row(folder.name, result.get("status", "failed"), *cells)
    console.print(table)
    console.print(f"results: {folders[0].parent}", soft_wrap=True, highlight=False)
    return int(any(result.get("status") != "finished" for result in results))
