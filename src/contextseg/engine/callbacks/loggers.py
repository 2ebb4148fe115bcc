"""Sending numbers, pictures and tables to the loggers.

No logger is named here. One gets a thing if it has the method for it: W&B's `log_image` and `log_table`, or
TensorBoard's `add_image` and `add_text` of its `experiment`.
"""

import logging
from collections.abc import Callable, Sequence

import lightning as L
import numpy as np
from lightning.pytorch.loggers import Logger

log = logging.getLogger(__name__)


def send(trainer: L.Trainer, what: Callable[[Logger], None]) -> None:
    """Call `what` with every logger. One that fails is omitted from then on, with a warning: it never stops a run."""
    for logger in trainer.loggers:
        try:
            what(logger)
        except Exception as error:
            log.warning("%s fails (%s: %s); going on without it", logger.name, type(error).__name__, error)
            trainer.loggers = [other for other in trainer.loggers if other is not logger]


def send_numbers(trainer: L.Trainer, row: dict[str, float]) -> None:
    """Send named numbers to every logger, all in one row of this step."""
    send(trainer, lambda logger: logger.log_metrics(row, step=trainer.global_step))


def take_pictures(trainer: L.Trainer) -> bool:
    """Tell whether there is a logger that takes pictures."""
    return any(hasattr(logger, "log_image") or hasattr(logger.experiment, "add_image") for logger in trainer.loggers)


def send_pictures(trainer: L.Trainer, key: str, pictures: list[np.ndarray], captions: list[str]) -> None:
    """Send pictures uint8 (H, W, 3), each with its caption."""

    def to(logger):
        if hasattr(logger, "log_image"):
            logger.log_image(key, pictures, step=trainer.global_step, caption=captions)
        elif hasattr(logger.experiment, "add_image"):
            for picture, caption in zip(pictures, captions, strict=True):
                logger.experiment.add_image(f"{key}/{caption}", picture, trainer.global_step, dataformats="HWC")

    send(trainer, to)


def send_masks(
    trainer: L.Trainer,
    key: str,
    images: list[np.ndarray],
    captions: list[str],
    masks: list[dict[str, np.ndarray]],
    names: dict[int, str],
) -> None:
    """Send images uint8 (H, W, 3) with named masks (H, W) to switch on and off; `names`: mask value -> label."""
    layers = [
        {name: {"mask_data": mask, "class_labels": names} for name, mask in of_image.items()} for of_image in masks
    ]

    def to(logger):
        if hasattr(logger, "log_image"):
            logger.log_image(key, images, step=trainer.global_step, caption=captions, masks=layers)

    send(trainer, to)


def send_table(trainer: L.Trainer, key: str, columns: Sequence[str], rows: Sequence[Sequence]) -> None:
    """Send rows of words and numbers under named columns."""

    def to(logger):
        if hasattr(logger, "log_table"):
            logger.log_table(key, list(columns), [list(row) for row in rows], step=trainer.global_step)
        elif hasattr(logger.experiment, "add_text"):
            logger.experiment.add_text(key, markdown(columns, rows), trainer.global_step)

    send(trainer, to)


def markdown(columns: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Write a table in Markdown, numbers with two digits after the point."""
    cells = [[f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [columns, ["---"] * len(columns), *cells])
