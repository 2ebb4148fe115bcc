"""The options of `complexity`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen
from omegaconf import DictConfig

from contextseg.commands import compose
from contextseg.commands.train.options import check_parts
from contextseg.door import group, option
from contextseg.engine.options import FREEZE, Node, TrainOptions
from contextseg.errors import ConfigError
from contextseg.typed import Count


@dataclass
class ComplexityOptions(TrainOptions):
    """Count parameters, FLOPs and memory of a network, or of a paper's cost table.

    contextseg complexity head=ocr backbone=resnet101 size=[512,1024] classes=19
    contextseg complexity table=ocr_t4                         a paper's table, our counts beside the published ones
    contextseg complexity heads=[fcn,ocr] time=true            milliseconds and frames per second of this device too
    """

    backbone: Node = group("resnet101", "backbone", freeze=FREEZE)
    experiment: None = group("none", "a recipe, which sets the groups above")
    table: str | None = option(
        None, "count a paper's table instead of the network: ocr_t4, ocr_t8, ctnet_t3, ccnet_t2, ccnet_t5, agln_t8"
    )
    heads: Annotated[list[str], MinLen(1)] | None = option(
        None, "several heads side by side, such as [ocr,ccnet,ctnet], instead of head="
    )
    classes: Count | None = option(None, "how many; null: those of the data set")
    size: Count | tuple[Count, Count] = option([512, 512], "height, width of the image in pixels")
    batch_size: Count = option(2, "images in training")
    time: bool = option(False, "true: milliseconds and frames per second too, on this device, its GPU if there is one")
    output: Path | None = option(None, "a folder for complexity.json, .md and for networks .png")

    def __post_init__(self) -> None:
        """Refuse a file as the output."""
        if self.output and self.output.suffix in (".json", ".md", ".png"):
            raise ConfigError(f"output={self.output}: the result is several files; give a folder")


def parsed(cfg: DictConfig) -> ComplexityOptions:
    """Check the composed options, and those of the parts of the network."""
    options = compose.parsed(ComplexityOptions, cfg)
    check_parts(options)
    return options
