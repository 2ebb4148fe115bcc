"""The folder of a run: created exclusively, described in docs/architecture.md, never named with a character that a
command line would have to quote."""

import json
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import yaml

from contextseg.contract import ConfigError

ENVIRONMENT = "CONTEXTSEG_RUN_FOLDER"  # how rank 0 tells the others


class RunFolder:
    """Paths and records of one run. Only rank 0 writes."""

    def __init__(self, path: Path, *, resumed: bool = False):
        self.path, self.resumed = path, resumed

    @property
    def id(self) -> str:
        """A name that is the same after a restart and differs between runs."""
        return "-".join(self.path.parts[-2:])

    @property
    def last_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

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
        """The contents of `config.yaml`. Raises `ConfigError` if there is none."""
        file = self.path / "config.yaml"
        if not file.is_file():
            raise ConfigError(f"{self.path} is not a run folder: it has no config.yaml")
        return yaml.safe_load(file.read_text())

    def log_to_file(self) -> logging.Handler:
        """Send the log to `train.log`; the caller removes the handler."""
        handler = logging.FileHandler(self.path / "train.log")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.getLogger().addHandler(handler)
        return handler


def write_atomically(path: Path, text: str) -> None:
    """The file holds either the old text or the new one, whenever the process dies."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(text)
    os.replace(partial, path)


def plain_name(name: str, option: str = "name") -> str:
    """`name` if it needs no quoting on a command line. Raises `ConfigError` otherwise."""
    if not re.fullmatch(r"[\w.+-]+(/[\w.+-]+)*", name, re.ASCII):
        raise ConfigError(f"{option}={name!r}: use letters, digits and . _ - + only (the name becomes a folder)")
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
    folders = [RunFolder(path.resolve(), resumed=True) for path in sorted(parent.glob("*")) if path.is_dir()]
    unfinished = [
        folder
        for folder in folders
        if folder.last_checkpoint.is_file() and folder.read_metrics().get("status") != "finished"
    ]
    return unfinished[-1] if unfinished else None
