"""The folder of a run: created exclusively, described in docs/architecture.md, never named with a character that a
command line would have to quote."""

import json
import logging
import math
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import yaml

from contextseg.errors import ConfigError
from contextseg.files import write_atomically
from contextseg.parts import upgrade_config

ENVIRONMENT = "CONTEXTSEG_RUN_FOLDER"  # how rank 0 tells the others
LOGGED = "the traceback is in"  # the note on an error that needs no traceback on the terminal

log = logging.getLogger(__name__)


def rank() -> int:
    """The number of this process among those of the run, known before any of them is connected."""
    return int(os.environ.get("LOCAL_RANK", 0))


class RunFolder:
    """Paths and records of one run. Rank 0 writes; the others only when they fail.

    `resumed`: it held a checkpoint when it was opened, so the run goes on. `fresh`: it was made for this run.
    """

    def __init__(self, path: Path, fresh: bool = False):
        self.path, self.fresh = path, fresh
        self.resumed = self.has_checkpoint()

    @property
    def id(self) -> str:
        """A name that is the same after a restart and differs between runs, of other machines too."""
        place = f"{uuid.getnode()} {self.path.resolve()}".encode()
        return "-".join([*self.path.parts[-3:], blake2b(place, digest_size=3).hexdigest()])

    @property
    def last_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    def has_checkpoint(self) -> bool:
        """Whether a run can go on in this folder."""
        return self.last_checkpoint.is_file()

    def remove(self) -> None:
        """Delete the folder, and those above it that were made for it alone."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):  # the usual case: another run lies there
            self.path.parent.rmdir()

    def read_metrics(self) -> dict[str, Any]:
        """The contents of `metrics.json`; {} if there is none or it is broken."""
        try:
            return json.loads((self.path / "metrics.json").read_text())
        except (OSError, json.JSONDecodeError):
            return {}

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Replace `metrics.json`, atomically."""
        write_atomically(self.path / "metrics.json", json.dumps(metrics, indent=2) + "\n")

    def write_config(self, config: dict[str, Any]) -> None:
        """Write `config.yaml`."""
        write_atomically(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False))

    def read_config(self) -> dict[str, Any]:
        """The contents of `config.yaml`, by present names. Raises `ConfigError` if there is none."""
        file = self.path / "config.yaml"
        if not file.is_file():
            raise ConfigError(f"{self.path} is not a run folder: it has no config.yaml")
        return upgrade_config(yaml.safe_load(file.read_text()))

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
    raise ConfigError(f"cannot create a run folder in {parent}")


def newest_unfinished(parent: Path) -> RunFolder | None:
    """The newest run below `parent` that has a checkpoint and is not finished."""
    folders = [RunFolder(path.resolve()) for path in parent.glob("*") if path.is_dir()]
    unfinished = [folder for folder in folders if folder.resumed and folder.read_metrics().get("status") != "finished"]
    return max(unfinished, key=lambda folder: folder.last_checkpoint.stat().st_mtime, default=None)


def open_folder(parent: Path, *, given: str | None = None, resume: str | None = None, suffix: str = "") -> RunFolder:
    """The folder of this run: `given`, or that of an unfinished run (`resume`: "auto" or its folder), or a new one.

    Rank 0 chooses and tells the processes that it starts. Raises `ConfigError` if `resume` names no such run.
    """
    if rank():
        if ENVIRONMENT not in os.environ:
            raise ConfigError("LOCAL_RANK is set: start one process without torchrun, it starts the others itself")
        return RunFolder(Path(os.environ[ENVIRONMENT]))
    folder = None
    if given:
        folder = RunFolder(Path(given).resolve())
    elif resume == "auto":
        folder = newest_unfinished(parent)
        log.info("resume=auto: %s", f"going on in {folder.path}" if folder else "no unfinished run; starting a new one")
    elif resume:
        folder = RunFolder(Path(resume).resolve())
        if not folder.resumed:
            raise ConfigError(f"resume={resume}: there is no checkpoints/last.ckpt in it; give a run folder, or auto")
    folder = folder or RunFolder(new_folder(parent, suffix), fresh=True)
    os.environ[ENVIRONMENT] = str(folder.path)
    return folder


@contextmanager
def supervised(folder: RunFolder, metrics: dict[str, Any]) -> Iterator[None]:
    """Whatever happens inside, `metrics.json` says how it ended and `train.log` holds the traceback.

    A run that is refused before its first step leaves no folder. Of several processes that fail, the first one writes:
    the others merely lose the connection to it.
    """
    handler = folder.log_to_file()
    refused = False
    if rank() == 0:
        (folder.path / "metrics.json").unlink(missing_ok=True)
    try:
        yield
        metrics["status"] = "finished"
    except (KeyboardInterrupt, SystemExit) as stop:
        metrics["status"] = "stopped"
        log.warning("stopped%s", "; to go on: the same command with resume=auto" if folder.has_checkpoint() else "")
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns it into exit code 1
            raise KeyboardInterrupt from None
        raise
    except BaseException as error:
        metrics |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        refused = isinstance(error, ConfigError) and folder.fresh and not metrics.get("steps")
        log.exception("the run failed (process %d)", rank(), extra={"file_only": True})
        error.add_note(f"{LOGGED} {folder.path / 'train.log'}")
        raise
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
        if refused and rank() == 0:
            folder.remove()
        elif not folder.read_metrics() if metrics["status"] == "failed" else rank() == 0:
            folder.write_metrics(plain(metrics))
        os.environ.pop(ENVIRONMENT, None)


def plain(value: Any) -> Any:
    """Containers that JSON holds: no NaN (null), floats to four digits."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
