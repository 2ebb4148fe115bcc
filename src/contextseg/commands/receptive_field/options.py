"""The options of `receptive_field`."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import MinLen
from omegaconf import DictConfig

from contextseg.commands.evaluate import options as evaluate
from contextseg.commands.inspection.options import InspectionOptions
from contextseg.door import option
from contextseg.typed import Count, Natural


@dataclass
class ReceptiveFieldOptions(InspectionOptions):
    """Measure which pixels of the image the score of a pixel depends on: the effective receptive field.

    contextseg receptive_field ckpt=FILE output=FOLDER
    contextseg receptive_field ckpt=[FILE,FILE] output=FOLDER split=test images=50
    """

    point: tuple[Natural, Natural] | None = option(None, "x, y of the pixel; null: the middle of each image")
    radii: Annotated[list[Count], MinLen(1)] = option(
        [16, 32, 64, 128], "pixels; how much of the energy lies within each"
    )
    noise: bool = option(False, "random pixels in place of those of the images")


def first_look(cfg: DictConfig) -> None:
    """Check the options of the command line before a checkpoint is read. Raises `ConfigError`."""
    evaluate.first_look(cfg, ReceptiveFieldOptions)
