"""The options of `attention_statistics`."""

from dataclasses import dataclass
from typing import Literal

from omegaconf import DictConfig

from contextseg.commands.evaluate import options as evaluate
from contextseg.commands.inspection.options import InspectionOptions
from contextseg.door import option


@dataclass
class AttentionStatisticsOptions(InspectionOptions):
    """Measure how far attention looks, how widely, and which class takes context from which.

    contextseg attention_statistics ckpt=FILE output=FOLDER
    contextseg attention_statistics ckpt=[FILE,FILE] output=FOLDER split=test images=50
    """

    classes: Literal["prediction", "truth"] = option(
        "prediction", "what names the class of a place: the network's own prediction, or the labels of the data set"
    )


def first_look(cfg: DictConfig) -> None:
    """Check the options of the command line before a checkpoint is read. Raises `ConfigError`."""
    evaluate.first_look(cfg, AttentionStatisticsOptions)
