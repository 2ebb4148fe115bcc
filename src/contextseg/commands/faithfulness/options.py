"""The options of `faithfulness`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge
from omegaconf import DictConfig

from contextseg.commands.evaluate import options as evaluate
from contextseg.commands.inspection.options import InspectionOptions
from contextseg.door import option
from contextseg.typed import Count, Natural


@dataclass
class FaithfulnessOptions(InspectionOptions):
    """Ask whether the score of a pixel comes from where the attention points: deletion and insertion curves.

    contextseg faithfulness ckpt=FILE output=FOLDER
    contextseg faithfulness ckpt=[FILE,FILE] output=FOLDER split=test images=24 pixels=4
    A pixel costs up to 2 + 8 (steps - 1) passes of the network over an image (docs/attend.md).
    """

    pixels: Count = option(4, "of each image; each is drawn from a class of its truth that is drawn first")
    steps: Annotated[int, Ge(2)] = option(8, "masked shares: 0, 1/steps, 2/steps, ..., 1")
    patch: Count = option(16, "side in pixels of the patches that are masked")
    spare: Natural = option(16, "pixels around the pixel that are never masked; 0: those of its own patch")
    masking: Literal["mean", "blur"] = option(
        "mean", "what is seen of masked patches: the mean colour of the image, or the image blurred over a patch"
    )
    batch_size: Count = option(4, "masked copies in one pass; more is faster on a GPU")
    seed: Natural = option(0, "of the pixels and of the random order")


def first_look(cfg: DictConfig) -> None:
    """Check the options of the command line before a checkpoint is read. Raises `ConfigError`."""
    evaluate.first_look(cfg, FaithfulnessOptions)
