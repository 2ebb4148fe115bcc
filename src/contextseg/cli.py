"""Entry points: Hydra composes, mistakes become one line and exit code 2, sweeps end with a table."""

import json
import logging
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table

from contextseg import run_folder
from contextseg.config import CONF, compose, flatten, record_choices
from contextseg.console import console
from contextseg.errors import ConfigError
from contextseg.sweep import pool
from contextseg.sweep.job import Job, follow_parent

log = logging.getLogger(__name__)


SWEEP = "CONTEXTSEG_SWEEP_FOLDER"  # how the jobs of a sweep know its folder, those in other processes too


def sweep_folder(runs: str, name: str | None) -> str:
    """The folder for the sweep of this command, made when first asked for: `<runs>/sweeps/<name>/<date>_<time>`."""
    if SWEEP not in os.environ:
        parent = Path(runs) / "sweeps" / run_folder.plain_name(name or "sweep")
        os.environ[SWEEP] = str(run_folder.new_folder(parent))
    return os.environ[SWEEP]


def option_lines(*groups: str) -> str:
    """The options of config groups, a line each."""
    lines = ((group, ", ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))) for group in groups)
    return "\n".join(f"  {group}: {options}" for group, options in lines)


OmegaConf.register_new_resolver("options", option_lines, replace=True)
OmegaConf.register_new_resolver("sweep_folder", lambda *where: sweep_folder(*where), replace=True)


def command(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Decorator: make a command of `task(cfg)`, configured by `conf/<config_name>.yaml`.

    Exit code 0: done; 1: failed, or a job of a sweep did; 2: the user can put it right; 130 and 143: stopped by Ctrl-C
    and by SIGTERM.
    """

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        def entry() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through, to be told here
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
            follow_parent()
            sys.argv[1:] = overrides_first(sys.argv[1:])
            log_to_console()
            errors: list[Exception] = []  # kept from Hydra, which would print them its own way

            def run(cfg: DictConfig) -> float | None:
                hydra_cfg = HydraConfig.get()
                cfg = record_choices(cfg, hydra_cfg.runtime.choices)
                if hydra_cfg.mode == RunMode.MULTIRUN:
                    return run_job(cfg, hydra_cfg)
                try:
                    refuse_table(cfg)
                    task(cfg)
                except Exception as error:
                    errors.append(error)
                return None

            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(run)()
                if errors:
                    raise errors[0]
            except KeyboardInterrupt:
                sys.exit(128 + signal.SIGINT)
            except Exception as error:
                os.environ.pop(SWEEP, None)  # refused as a whole: no table
                told, code = explain(error, config_name)
                if not told:
                    raise
                refuse(told)
                sys.exit(code)
            finally:
                sweep = os.environ.pop(SWEEP, None)
                failed = summarise(Path(sweep)) if sweep else False
            sys.exit(int(failed))

        entry.__doc__ = task.__doc__
        return entry

    return decorate


def overrides_first(words: Sequence[str]) -> list[str]:
    """The words of a command line, overrides in front: argparse takes them in one piece only, `a=1 -m b=2` not."""
    return sorted(words, key=lambda word: word.startswith("-") or not ("=" in word or word.startswith("~")))


def log_to_console() -> None:
    """Our own log lines at INFO on the console; of the libraries, warnings only. Quiet on all ranks but 0."""
    handler = RichHandler(console=console, show_path=False, show_level=False, log_time_format="%H:%M:%S")
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: record.name.startswith("contextseg.") and not hasattr(record, "file_only"))
    handler.setLevel(logging.INFO if run_folder.rank() == 0 else logging.CRITICAL)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)


def refuse(message: str) -> None:
    """Print one readable line; of several processes, name the one."""
    process = f" in process {run_folder.rank()}" if run_folder.rank() else ""
    console.print(f"[bold red]error{process}:[/] {escape(message)}", soft_wrap=True, highlight=False)


def explain(error: BaseException, config_name: str) -> tuple[str, int]:
    """One line on an error, and the exit code: 2 if the user can put it right; "" if only the traceback tells more."""
    if isinstance(error, ConfigError):
        return worker_error(str(error)), 2
    if isinstance(error, HydraException | OmegaConfBaseException) or "Config group override" in str(error):
        return explain_hydra(error, config_name), 2
    logged = [note for note in getattr(error, "__notes__", []) if note.startswith(run_folder.LOGGED)]
    return (f"{one_line(f'{type(error).__name__}: {error}')[:500]} ({logged[0]})" if logged else ""), 1


def one_line(text: str) -> str:
    return " ".join(text.split())


def worker_error(text: str) -> str:
    """The message of a `ConfigError`, also if a loader worker raised it: torch wraps it in the worker's traceback."""
    return one_line(text.rsplit("ConfigError: ", 1)[-1])


def explain_hydra(error: Exception, config_name: str) -> str:
    """Hydra's message as one line, with the way out."""
    if str(error).startswith("Config group override must be"):
        return "GROUP=null: an option of the group is needed; to leave the group out, write  '~GROUP'"
    text = one_line(str(error)).split(" Config search path:")[0].split(" full_key:")[0]
    if isinstance(error, OverrideParseException):
        return quoting(error.override)
    if ambiguous := re.match(r"Ambiguous value for argument '(.*?)' 1\.", text):
        return f"{quoting(ambiguous[1])}; to run one job for each value, add -m"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return no_such_option(error.missing_cfg_file)
    if unknown := re.search(r"Could not override '([^']+)'", text):
        return unknown_key(unknown[1], config_name)
    return text


def quoting(override: str) -> str:
    """How to write an override that Hydra's grammar does not read."""
    key, equals, value = override.partition("=")
    if not equals:
        return f"cannot read {override}: write key=value; a value with spaces needs quotes:  'key=\"two words\"'"
    return f"cannot read {override}: a value with = , [ ] {{ }} or ~ needs two pairs of quotes:  '{key}=\"{value}\"'"


def no_such_option(file: str) -> str:
    """The options of a group, for one that does not exist."""
    group, _, option = file.rpartition("/")
    known = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    return f"{group}={option}: no such option; choose one of {', '.join(known) or 'none'}"


def unknown_key(key: str, config_name: str) -> str:
    """The nearest known key, for one that does not exist."""
    groups = [path.name for path in CONF.iterdir() if path.is_dir()]
    known = [*groups, *flatten(OmegaConf.to_container(compose(config_name=config_name)))]
    near = get_close_matches(key, known, n=1)
    if key in groups:
        hint = f"{config_name}.py has no such group"
    elif key in known:
        hint = f"the chosen {key.split('.')[0]} does not have it"
    else:
        hint = f"did you mean {near[0]}?" if near else "--help lists the groups, --cfg job every option"
    return f"unknown option {key}: {hint} (+{key}=... adds an argument that the configuration does not list)"


def refuse_table(cfg: DictConfig) -> None:
    """Raises `ConfigError` if a paper's table is asked for outside a sweep."""
    if "ablation" in cfg or cfg.get("rows") is not None:
        words = " ".join(shlex.quote(word) for word in sys.argv[1:])
        raise ConfigError(f"a table is a sweep over its rows, add -m:  python src/train.py -m {words}")


def run_job(cfg: DictConfig, hydra_cfg: DictConfig) -> float | None:
    """A job of another launcher than ours, on SLURM say: it gets a process of its own there too. Returns the mIoU."""
    if hydra_cfg.job.config_name != "train":
        raise ConfigError(f"-m is for train.py: run {hydra_cfg.job.config_name}.py once for each value")
    refuse_table(cfg)
    job = Job(cfg, hydra_cfg.overrides.task, hydra_cfg.job.num, Path(hydra_cfg.runtime.output_dir))
    pool.run([job])
    return job.outcome().get("miou")


def jobs_of(sweep: Path) -> dict[str, Path]:
    """The run folders of a sweep by name: those of its plan, or if it had none, those in its folder."""
    plan = sweep / "jobs.json"
    if plan.is_file():
        return {name: Path(folder) for name, folder in json.loads(plan.read_text()).items()}
    return {path.name: path for path in sorted(sweep.iterdir()) if re.match(r"\d{3}_", path.name)}


def summarise(sweep: Path) -> bool:
    """Print what became of the jobs of a sweep; returns whether one did not finish."""
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
