"""The folder of a run: its files, which docs/architecture.md describes, and the record of the end of the run.

It is created exclusively, and its name needs no quotes on a command line: `new_folder` makes it. `runs.opening` chooses
between a new one and that of an unfinished run.
"""

import json
import logging
import math
import os
import re
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import yaml

from contextseg.errors import ConfigError
from contextseg.files import PART, write_atomically
from contextseg.parts import upgrade_config
from contextseg.plain_yaml import read_yaml

ENVIRONMENT = "CONTEXTSEG_RUN_FOLDER"  # by which rank 0 gives it to the other processes
RANK = "CONTEXTSEG_RANK"  # the number of a process that was started from outside (`runs.outside`)
GO_ON = "to go on: the same command with resume=auto"
LOGGED = "the traceback is in"  # the note on an error that needs no traceback on the terminal


log = logging.getLogger(__name__)


class Unreadable(ConfigError):
    """A record of a run that cannot be read; the message names the file."""


def read_record(file: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Return the mapping in a file; {} if there is no such file. Raises `Unreadable` if it holds anything else."""
    try:
        found = parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise Unreadable(f"{file} cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(found, dict):
        raise Unreadable(f"{file} holds no mapping")
    return found


def rank() -> int:
    """Return the number of this process among those of the run, known before any of them is connected."""
    return int(os.environ.get(RANK) or os.environ.get("LOCAL_RANK") or 0)


class RunFolder:
    """Read and write the records of one run. Rank 0 writes; the others only when they fail.

    `resumed`: it held a checkpoint when it was opened, so the run goes on. `fresh`: it was made for this run.
    """

    def __init__(self, path: Path, fresh: bool = False):
        self.path, self.fresh = path, fresh
        self.resumed = self.has_checkpoint()

    @property
    def id(self) -> str:
        """Return a name that is the same after a restart and differs between runs, of other machines too."""
        place = f"{uuid.getnode()} {self.path.resolve()}".encode()
        return "-".join([*self.path.parts[-3:], blake2b(place, digest_size=3).hexdigest()])

    @property
    def last_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    def has_checkpoint(self) -> bool:
        """Tell whether a run can go on in this folder."""
        return self.last_checkpoint.is_file()

    def remove(self) -> None:
        """Delete the folder, and those above it that were made for it alone."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):  # the usual case: another run lies there
            self.path.parent.rmdir()

    def remove_parts(self) -> None:
        """Delete the side files of a process that was killed; only for whoever holds the lock of the folder."""
        for part in self.path.rglob(f"{PART}*"):
            part.unlink(missing_ok=True)

    def read_metrics(self, *, strict: bool = False) -> dict[str, Any]:
        """Return the contents of `metrics.json`; {} if there is none.

        A broken one is {} too, or if `strict` raises `Unreadable`.
        """
        try:
            return read_record(self.path / "metrics.json", json.loads)
        except Unreadable:
            if strict:
                raise
            return {}

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Replace `metrics.json`, atomically."""
        write_atomically(self.path / "metrics.json", json.dumps(metrics, indent=2) + "\n")

    def write_config(self, config: dict[str, Any]) -> None:
        """Write `config.yaml`."""
        write_atomically(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))

    def read_config(self) -> dict[str, Any]:
        """Return the contents of `config.yaml`, by present names. Raises `ConfigError` if there is none."""
        file = self.path / "config.yaml"
        if not file.is_file():
            raise ConfigError(f"{self.path} is not a run folder: it has no config.yaml")
        return upgrade_config(read_record(file, read_yaml))

    def log_to_file(self) -> logging.Handler:
        """Send the log to `train.log`, from ranks other than 0 errors only; the caller removes the handler."""
        handler = logging.FileHandler(self.path / "train.log")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handler.setLevel(logging.ERROR if rank() else logging.NOTSET)
        logging.getLogger().addHandler(handler)
        return handler


def plain_name(name: str, option: str = "name") -> str:
    """Return a name that needs no quoting on a command line and stays within its folder.

    Raises `ConfigError` otherwise.
    """
    words = name.split("/")
    if not all(re.fullmatch(r"[\w.+-]+", word, re.ASCII) and word.strip(".") for word in words):
        raise ConfigError(
            f"{option}={name!r}: use letters, digits and . _ - + only, with / between (the name becomes a folder)"
        )
    return name


def new_folder(parent: Path, suffix: str = "") -> Path:
    """Create `<parent>/<date>_<time><suffix>`, which no other process got; a taken second gets _2, _3, ..."""
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1, 1000):
        path = parent / f"{stamp}{'' if attempt == 1 else f'_{attempt}'}{suffix}"
        try:
            path.mkdir(parents=True)
            return path.resolve()
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(
                f"{path.parent}: {error.strerror}; give a folder that can be written, paths.runs="
            ) from error
    raise ConfigError(f"cannot create a run folder in {parent}")


@contextmanager
def supervised(folder: RunFolder, metrics: dict[str, Any]) -> Iterator[None]:
    """Record how the run inside ends: its status in `metrics.json`, a traceback in `train.log`.

    A process that is killed by SIGKILL records nothing; a sweep does it for its jobs. A run that is refused before its
    first step leaves no folder. Of several processes that fail, the first one writes:
    the others merely lose the connection to it.
    """
    handler = folder.log_to_file()
    refused = False
    if rank() == 0:
        (folder.path / "metrics.json").unlink(missing_ok=True)
    try:
        yield
        if metrics["status"] == "running":
            metrics["status"] = "finished"
        else:
            log.warning("stopped by %s; %s", metrics.get("stopped_by"), GO_ON)
    except (KeyboardInterrupt, SystemExit) as stop:
        metrics |= {"status": "stopped", "stopped_by": signal_of(stop)}
        log.warning("stopped by %s%s", metrics["stopped_by"], f"; {GO_ON}" if folder.has_checkpoint() else "")
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns it into exit code 1
            raise KeyboardInterrupt from None
        raise
    except BaseException as error:
        metrics |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        refused = isinstance(error, ConfigError) and folder.fresh and not metrics.get("steps")
        log.exception("the run failed (process %d)", rank(), extra={"file_only": True})
        if (folder.path / "train.log").is_file():  # not if somebody removed the folder
            error.add_note(f"{LOGGED} {folder.path / 'train.log'}")
        raise
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
        if refused and rank() == 0:
            folder.remove()
        elif not folder.read_metrics() if metrics["status"] == "failed" else rank() == 0:
            record_end(folder, metrics)
        os.environ.pop(ENVIRONMENT, None)


def record_end(folder: RunFolder, metrics: dict[str, Any]) -> None:
    """Write how a run ended. An error in that hides no earlier one, and a folder that was removed is not made again."""
    try:
        if folder.path.is_dir():
            folder.write_metrics(plain(metrics))
            return
        log.error("%s is gone; the end of the run is recorded nowhere: %s", folder.path, metrics["status"])
    except OSError as error:
        if metrics["status"] == "finished":
            raise
        log.error("%s: %s; the end of the run is not recorded", folder.path / "metrics.json", error.strerror)


def signal_of(stop: KeyboardInterrupt | SystemExit) -> str:
    """Return the name of the signal that ended a run, "an exit" if it was none."""
    if isinstance(stop, KeyboardInterrupt) or isinstance(stop.__context__, KeyboardInterrupt):
        return signal.SIGINT.name
    with suppress(ValueError, TypeError):
        return signal.Signals(stop.code - 128).name  # type: ignore[operator]  # TypeError if it is no number
    return "an exit"


def plain(value: Any) -> Any:
    """Turn values into those that JSON holds: NaN becomes null, floats have four digits."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
