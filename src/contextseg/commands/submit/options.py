"""The options of `submit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from contextseg.commands.evaluate import options as evaluate
from contextseg.door import REQUIRED, group, option
from contextseg.engine.options import EvalOptions, Node, TrainerOptions
from contextseg.errors import ConfigError


@dataclass
class SubmitOptions:
    """Predict a split and pack the archive that the data set's test server wants.

    contextseg submit ckpt=runs/NAME/DATE/checkpoints/last.ckpt output=FOLDER eval=ms_flip
    """

    ckpt: Path = option(REQUIRED, "a .ckpt file")
    output: Path = option(REQUIRED, "a folder, which gets the label maps and the archive to upload")
    split: Literal["val", "test"] = option("test", "val: the split that evaluate scores")
    data: Node = group(
        None,
        "data set",
        root=option(None, "its folder"),
        num_workers=option(None, "processes that load images"),
    )
    eval: EvalOptions = group(None, "evaluation protocol")
    trainer: TrainerOptions = group(
        None,
        "device",
        accelerator=None,
        devices=1,
        precision=None,
        sync_batchnorm=False,
    )
    choices: dict[str, str] = option({}, "filled in")

    def __post_init__(self) -> None:
        """Refuse more than one device."""
        if self.trainer is not None and self.trainer.devices != 1:
            raise ConfigError(f"trainer.devices={self.trainer.devices}: submit works on one device; give 1")


def first_look(cfg: DictConfig) -> None:
    """Check the options of the command line before the checkpoint is read. Raises `ConfigError`."""
    evaluate.first_look(cfg, SubmitOptions)
