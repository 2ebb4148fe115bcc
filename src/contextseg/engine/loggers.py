"""The loggers of a run: they start, close, and never stop the run."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from contextseg import parts
from contextseg.errors import ConfigError

log = logging.getLogger(__name__)
for library in ("lightning", "lightning.pytorch", "lightning.fabric"):  # to train.log, not onto the console
    logging.getLogger(library).handlers.clear()
    logging.getLogger(library).propagate = True
logging.getLogger("lightning.pytorch.trainer.connectors.checkpoint_connector").setLevel(logging.WARNING)


@contextmanager
def loggers(nodes: Mapping[str, Any], config: dict[str, Any], first_step: int) -> Iterator[list[Logger]]:
    """Start the loggers of `logger=` and close them at the end, so that the runs of one process do not mix.

    A logger that cannot start or close is skipped with a warning.
    """
    started = []
    for name, node in nodes.items():
        with never_fatal(f"logger.{name} does not start"):
            logger = parts.make(node, f"logger.{name}")
            if first_step and hasattr(logger, "resume"):
                logger.resume(first_step)
            logger.log_hyperparams(config)
            started.append(logger)
    failed = 1
    try:
        yield started
        failed = 0
    finally:
        for logger in started:
            with never_fatal(f"{logger.name} does not close"):
                if hasattr(logger.experiment, "finish"):  # W&B
                    logger.experiment.finish(exit_code=failed)
                elif hasattr(logger.experiment, "close"):  # TensorBoard
                    logger.experiment.close()


def sweep_of(folder: str, row: str | None = None) -> str | None:
    """Return the sweep of a run, by which loggers group runs; None for a run of its own.

    It is the table of its row, or the name of the folder that holds the jobs.
    """
    if row:
        return row.partition("/")[0]
    path = Path(folder)
    return path.parent.name if re.match(r"\d{3}_", path.name) else None


def tags(*words: str | None) -> list[str]:
    """Return the words that are not None, cut to the 64 characters of W&B's tags."""
    return [word[:64] for word in words if word]


@contextmanager
def never_fatal(what: str) -> Iterator[None]:
    """Turn an error into a warning, unless the user can correct it."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        log.warning("%s (%s: %s); going on without it", what, type(error).__name__, error)
